"""Receding-horizon controller without ROS and without a clock of its own."""
