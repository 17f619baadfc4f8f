"""Losses of the training phases, and the latents that they take."""
