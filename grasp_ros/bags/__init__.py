"""Recorded bags: reading, writing, replaying and comparing them, without rclpy."""
