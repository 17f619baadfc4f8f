"""The parts of rclpy that node and tools share."""
