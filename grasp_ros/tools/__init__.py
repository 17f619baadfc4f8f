"""The other executables."""
