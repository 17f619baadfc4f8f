"""Closed-loop episodes and their times."""
