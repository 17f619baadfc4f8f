"""What the node and the tools share of rclpy."""
