"""Numbers to message fields and back, without rclpy."""
