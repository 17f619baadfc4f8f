"""Planners, one a file, all behind the Planner protocol."""
