"""Toys and benches that tests share."""
