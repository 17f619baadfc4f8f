"""The speed of one iteration, of a solve, and of large models."""
