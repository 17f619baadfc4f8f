"""Collecting data and training world models."""
