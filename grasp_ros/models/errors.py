"""What goes wrong with models on disk."""


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file, the fault and the way out."""


class TrustError(CheckpointError):
    """A file can run code where it is loaded, and nobody has said that its author is trusted."""
