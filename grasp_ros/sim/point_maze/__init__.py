"""A point mass in a maze, driven by forces."""
