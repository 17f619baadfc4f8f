"""Variants of GRASP that only the benchmark needs."""
