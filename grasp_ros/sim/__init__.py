"""Simulated robots with a camera, free of ROS."""
