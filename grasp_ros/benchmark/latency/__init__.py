"""Closed loop while planning is slow."""
