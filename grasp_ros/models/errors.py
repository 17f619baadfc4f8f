"""Errors of model files, and the check that a user trusts a program."""

from __future__ import annotations

import os
from pathlib import Path


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file, the fault and the way out."""


class TrustError(CheckpointError):
    """A file can run code where it is loaded, and nobody has said that its author is trusted."""


def trusted_file() -> Path:
    """One SHA-256 a line; in $XDG_CONFIG_HOME, by default ~/.config."""
    configuration = os.environ.get('XDG_CONFIG_HOME') or Path.home() / '.config'
    return Path(configuration) / 'grasp_ros' / 'trusted_programs'


def is_trusted(sha256: str) -> bool:
    """Return whether the user has trusted a program of that content."""
    try:
        return sha256 in trusted_file().read_text().split()
    except OSError:
        return False


def trust(sha256: str) -> None:
    """Trust a program of that content from now on.

    Raises:
        OSError: if the file cannot be written.
    """
    if is_trusted(sha256):
        return
    path = trusted_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a') as file:
        file.write(f'{sha256}\n')
