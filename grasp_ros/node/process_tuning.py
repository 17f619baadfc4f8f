"""Memory that is not tidied up for long while the robot drives."""

from __future__ import annotations

import gc


def freeze() -> None:
    """Spare all present objects from garbage collection.

    Looking through those of PyTorch and ROS takes a tenth of a second and more, and holds up every
    thread.
    """
    gc.collect()
    gc.freeze()
    # How rarely all is looked through depends on how much there was the last time: now little.
    gc.collect()


def unfreeze() -> None:
    """Collect garbage among all objects again."""
    gc.unfreeze()
