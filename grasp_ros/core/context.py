"""The newest frames, and the latents that a model's history asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.core.timing import Timer, untimed

Picture = NDArray[np.uint8]
ImageSource = Picture | Callable[[], Picture]


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera picture: (h, w, 3) uint8 RGB, or a function that decodes it when needed."""

    source: ImageSource
    stamp_ns: int

    def picture(self) -> Picture:
        """Decode; raises what the decoder raises."""
        return self.source() if callable(self.source) else self.source


class ContextEncoder:
    """Encodes each frame once and picks those one model step apart.

    Attributes:
        picture: the newest one decoded (h, w, 3) uint8 RGB, for people to look at.
    """

    def __init__(
        self,
        encode: Callable[[Picture, int], Tensor],
        history: int,
        step_ns: int,
        timer: Timer = untimed,
    ) -> None:
        """Encode with `encode`: (h, w, 3) uint8 and its stamp to latents (*Z)."""
        self._encode = encode
        self._timer = timer
        self._history = history
        self._step_ns = step_ns
        self._latents: OrderedDict[int, Tensor] = OrderedDict()
        self.picture: Picture | None = None

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
                self.picture = frame.picture()
            self._latents[frame.stamp_ns] = self._encode(self.picture, frame.stamp_ns)
        return self._latents[frame.stamp_ns]
