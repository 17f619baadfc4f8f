"""Planner and robot, watched for a long time."""
