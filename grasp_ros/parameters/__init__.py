"""The parameters of the node: one table, its YAML file."""
