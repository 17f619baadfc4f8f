"""Mutated messages, by the hundred thousand, against everything that takes messages."""
