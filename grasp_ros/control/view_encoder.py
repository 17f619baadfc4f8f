"""From what was seen to latents: preprocessing, normalised proprioception, the model's encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.observation import Picture, View
from grasp_ros.control.timing import Timer, untimed
from grasp_ros.models.protocol import Observation, WorldModel
from grasp_ros.models.sensors import Inputs


class LastInput:
    """A preprocessing of what all cameras show, each picture for itself.

    It remembers its last result: the guard asks for what was just encoded.
    """

    def __init__(self, preprocess: Callable[[Picture], NDArray[np.float32]]) -> None:
        """Wrap `preprocess`: (h, w, 3) uint8 RGB to (3, h', w') in [0, 1]."""
        self._preprocess = preprocess
        self._last: tuple[View, NDArray[np.float32]] | None = None

    def __call__(self, view: View) -> NDArray[np.float32]:
        """The model's input for one picture (3, h', w'), for several (C, 3, h', w')."""
        if self._last is None or self._last[0] is not view:
            pixels = [self._preprocess(picture) for picture in view.pictures]
            self._last = (view, pixels[0] if len(pixels) == 1 else np.stack(pixels))
        return self._last[1]


class ViewEncoder:
    """Encodes one view after the other."""

    def __init__(
        self,
        model: WorldModel,
        preprocess: Callable[[Picture], NDArray[np.float32]],
        inputs: Inputs,
        timer: Timer = untimed,
    ) -> None:
        """See `Controller`."""
        self._model = model
        self._preprocess = LastInput(preprocess)
        self._space = inputs.proprioception
        self._timer = timer

    def pixels(self, view: View) -> Tensor:
        """The model's input (3, h', w') in [0, 1]; of several cameras (C, 3, h', w')."""
        return torch.from_numpy(self._preprocess(view))

    def __call__(self, view: View, stamp_ns: int = 0) -> Tensor:
        """Latent (*Z) of what was seen at `stamp_ns`."""
        with self._timer('preprocess', stamp_ns):
            pixels = self.pixels(view)[None, None]
        with self._timer('encode', stamp_ns):
            images = pixels.to(self._model.device, self._model.dtype)
            felt = self._felt(view)
            if felt is not None:
                felt = felt.to(images)
            return self._model.encode(Observation(images, felt))[0, 0]

    def _felt(self, view: View) -> Tensor | None:
        """Normalised proprioception (1, 1, Q), or None where there is none."""
        if self._space is None or view.proprioception is None:
            return None
        return torch.from_numpy(self._space.normalise(view.proprioception))[None, None]
