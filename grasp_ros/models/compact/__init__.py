"""Our own small world model."""
