"""Planners that GRASP is compared with: one file, one algorithm."""
