"""The lifecycle node `planner`."""
