"""From recorded bags to a dataset."""
