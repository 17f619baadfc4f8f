"""From bags and simulators to datasets."""
