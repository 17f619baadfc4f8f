"""All that needs a GPU, measured by one command."""
