"""Drives a robot to a goal image by planning through a learned world model, as ROS 2 nodes."""

import pkgutil

# In a colcon workspace the generated `grasp_ros.msg` lies in another folder than these sources.
__path__ = pkgutil.extend_path(__path__, __name__)

from grasp_ros import moved

moved.install()
