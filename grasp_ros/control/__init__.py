"""Which command now, and why not: no ROS, no clock of its own."""
