"""Provoked faults, mutated messages and the soak: tests of a whole process, not installed."""
