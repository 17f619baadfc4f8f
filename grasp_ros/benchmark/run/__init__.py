"""Cells of a benchmark: what is run, where, and with which settings."""
