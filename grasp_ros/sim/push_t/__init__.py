"""Push-T: an agent pushes a block to a pose."""
