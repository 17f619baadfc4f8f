"""Provoked faults, mutated messages and the soak: tests of a whole planner process, not installed."""
