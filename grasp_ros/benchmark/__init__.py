"""Episodes and metrics, free of ROS."""
