"""Which programs the user trusts: by their SHA-256, in a file of the user's configuration."""

from __future__ import annotations

import os
from pathlib import Path


def trusted_file() -> Path:
    """One SHA-256 a line; in $XDG_CONFIG_HOME, by default ~/.config."""
    configuration = os.environ.get('XDG_CONFIG_HOME') or Path.home() / '.config'
    return Path(configuration) / 'grasp_ros' / 'trusted_programs'


def is_trusted(sha256: str) -> bool:
    """Whether the user has trusted a program of that content."""
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
