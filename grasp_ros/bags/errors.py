"""What can be wrong with a bag."""

from __future__ import annotations


class BagError(Exception):
    """A bag cannot be read or written; the message names the file and the way out."""
