"""A simulated robot drives to goal images: the demo, and what starts and drives its processes."""
