"""Conversion of other people's checkpoints to model folders."""
