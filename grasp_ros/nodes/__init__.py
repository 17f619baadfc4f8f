"""The only place with rclpy: nodes, parameters, messages."""
