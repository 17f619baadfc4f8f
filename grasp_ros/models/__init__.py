"""World models and their checkpoints."""
