"""Rooms with walls, seen from above: two rooms, and the maze."""
