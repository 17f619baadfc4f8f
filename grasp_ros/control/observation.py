"""The newest frames, and the latents that a model's history asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.timing import Timer, untimed

Picture = NDArray[np.uint8]
ImageSource = Picture | Callable[[], Picture]


@dataclass(frozen=True, eq=False)
class View:
    """What was seen, and felt, at one time.

    Attributes:
        pictures: one (h, w, 3) uint8 RGB of each camera.
        proprioception: (Q,) in physical units, or None: goals have none.
    """

    pictures: tuple[Picture, ...]
    proprioception: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """What the sensors gave at one time.

    Attributes:
        source: picture (h, w, 3) uint8 RGB, or a function that decodes it when needed; of several
            cameras a tuple of those.
        stamp_ns: acquisition time.
        proprioception: (Q,) in physical units, or None.
    """

    source: ImageSource | tuple[ImageSource, ...]
    stamp_ns: int
    proprioception: NDArray[np.float64] | None = None

    def view(self) -> View:
        """Decode; raises what the decoders raise."""
        sources = self.source if isinstance(self.source, tuple) else (self.source,)
        pictures = tuple(source() if callable(source) else source for source in sources)
        return View(pictures, self.proprioception)


def goal_view(picture: Picture, cameras: int) -> View:
    """A goal: the pictures of all cameras side by side in one (h, w, 3).

    Raises:
        ValueError: if the width cannot be divided among the cameras.
    """
    if picture.shape[1] % cameras:
        raise ValueError(
            f'the goal picture is {picture.shape[1]} pixels wide; for this model it shows the '
            f'pictures of {cameras} cameras side by side, all of one width'
        )
    return View(tuple(np.split(picture, cameras, axis=1)))


class ContextEncoder:
    """Encodes each frame once and picks those one model step apart.

    Attributes:
        view: the newest one decoded, or None.
    """

    def __init__(
        self,
        encode: Callable[[View, int], Tensor],
        history: int,
        step_ns: int,
        timer: Timer = untimed,
    ) -> None:
        """Encode with `encode`: what was seen and its stamp to latents (*Z)."""
        self._encode = encode
        self._timer = timer
        self._history = history
        self._step_ns = step_ns
        self._latents: OrderedDict[int, Tensor] = OrderedDict()
        self.view: View | None = None

    def clear(self) -> None:
        """Forget all frames."""
        self._latents.clear()

    def context(self, frames: tuple[Frame, ...]) -> tuple[Tensor, tuple[int, ...]]:
        """Latents of the newest frame and of those nearest to whole model steps before it.

        Args:
            frames: in the order of their stamps, at least one.

        Returns:
            Latents (1, H, *Z), newest last, and the stamps of the frames; a short history is
            padded with its oldest frame.
        """
        newest = frames[-1].stamp_ns
        chosen: list[Frame] = []
        for back in range(self._history):
            wanted = newest - back * self._step_ns
            nearest = min(frames, key=lambda frame: abs(frame.stamp_ns - wanted))
            late = abs(nearest.stamp_ns - wanted) > self._step_ns // 2
            chosen.append(chosen[-1] if late else nearest)
        latents = [self._latent(frame) for frame in reversed(chosen)]
        oldest = chosen[-1].stamp_ns
        while self._latents and next(iter(self._latents)) < oldest:
            self._latents.popitem(last=False)
        stamps = tuple(frame.stamp_ns for frame in reversed(chosen))
        return torch.stack(latents)[None], stamps

    def _latent(self, frame: Frame) -> Tensor:
        if frame.stamp_ns not in self._latents:
            with self._timer('decode', frame.stamp_ns):
                self.view = frame.view()
            self._latents[frame.stamp_ns] = self._encode(self.view, frame.stamp_ns)
        return self._latents[frame.stamp_ns]
