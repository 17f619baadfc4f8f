"""Other people's networks, as their checkpoints name them."""
