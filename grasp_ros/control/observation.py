"""Observations and what they are encoded to: sensor data, images, latents of the newest frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.types import Timer, untimed
from grasp_ros.models.protocol import Observation, WorldModel
from grasp_ros.models.sensors import SensorSpec

Picture = NDArray[np.uint8]
ImageSource = Picture | Callable[[], Picture]


@dataclass(frozen=True, eq=False)
class SensorData:
    """What was seen, and felt, at one time.

    Attributes:
        pictures: one (h, w, 3) uint8 RGB of each camera.
        proprioception: (Q,) in physical units, or None: goals have none.
    """

    pictures: tuple[Picture, ...]
    proprioception: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class StampedObservation:
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

    def view(self) -> SensorData:
        """Decode; raises what the decoders raise."""
        sources = self.source if isinstance(self.source, tuple) else (self.source,)
        pictures = tuple(source() if callable(source) else source for source in sources)
        return SensorData(pictures, self.proprioception)


def goal_view(picture: Picture, cameras: int) -> SensorData:
    """A goal: the pictures of all cameras side by side in one (h, w, 3).

    Raises:
        ValueError: if the width cannot be divided among the cameras.
    """
    if picture.shape[1] % cameras:
        raise ValueError(
            f'the goal picture is {picture.shape[1]} pixels wide; for this model it shows the '
            f'pictures of {cameras} cameras side by side, all of one width'
        )
    return SensorData(tuple(np.split(picture, cameras, axis=1)))


class HistoryEncoder:
    """Encodes each frame once and picks those one model step apart.

    Attributes:
        view: the newest one decoded, or None.
    """

    def __init__(
        self,
        encode: Callable[[SensorData, int], Tensor],
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
        self.view: SensorData | None = None

    def clear(self) -> None:
        """Forget all frames."""
        self._latents.clear()

    def context(self, frames: tuple[StampedObservation, ...]) -> tuple[Tensor, tuple[int, ...]]:
        """Latents of the newest frame and of those nearest to whole model steps before it.

        Args:
            frames: in the order of their stamps, at least one.

        Returns:
            Latents (1, H, *Z), newest last, and the stamps of the frames; a short history is
            padded with its oldest frame.
        """
        newest = frames[-1].stamp_ns
        chosen: list[StampedObservation] = []
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

    def _latent(self, frame: StampedObservation) -> Tensor:
        if frame.stamp_ns not in self._latents:
            with self._timer('decode', frame.stamp_ns):
                self.view = frame.view()
            self._latents[frame.stamp_ns] = self._encode(self.view, frame.stamp_ns)
        return self._latents[frame.stamp_ns]


class LastInput:
    """A preprocessing of what all cameras show, each picture for itself.

    It remembers its last result: the guard asks for what was just encoded.
    """

    def __init__(self, preprocess: Callable[[Picture], NDArray[np.float32]]) -> None:
        """Wrap `preprocess`: (h, w, 3) uint8 RGB to (3, h', w') in [0, 1]."""
        self._preprocess = preprocess
        self._last: tuple[SensorData, NDArray[np.float32]] | None = None

    def __call__(self, view: SensorData) -> NDArray[np.float32]:
        """The model's input for one picture (3, h', w'), for several (C, 3, h', w')."""
        if self._last is None or self._last[0] is not view:
            pixels = [self._preprocess(picture) for picture in view.pictures]
            self._last = (view, pixels[0] if len(pixels) == 1 else np.stack(pixels))
        return self._last[1]


class ObservationEncoder:
    """Encodes one view after the other."""

    def __init__(
        self,
        model: WorldModel,
        preprocess: Callable[[Picture], NDArray[np.float32]],
        inputs: SensorSpec,
        timer: Timer = untimed,
    ) -> None:
        """See `Controller`."""
        self._model = model
        self._preprocess = LastInput(preprocess)
        self._space = inputs.proprioception
        self._timer = timer

    def pixels(self, view: SensorData) -> Tensor:
        """The model's input (3, h', w') in [0, 1]; of several cameras (C, 3, h', w')."""
        return torch.from_numpy(self._preprocess(view))

    def __call__(self, view: SensorData, stamp_ns: int = 0) -> Tensor:
        """Latent (*Z) of what was seen at `stamp_ns`."""
        with self._timer('preprocess', stamp_ns):
            pixels = self.pixels(view)[None, None]
        with self._timer('encode', stamp_ns):
            images = pixels.to(self._model.device, self._model.dtype)
            felt = self._felt(view)
            if felt is not None:
                felt = felt.to(images)
            return self._model.encode(Observation(images, felt))[0, 0]

    def _felt(self, view: SensorData) -> Tensor | None:
        """Normalised proprioception (1, 1, Q), or None where there is none."""
        if self._space is None or view.proprioception is None:
            return None
        return torch.from_numpy(self._space.normalise(view.proprioception))[None, None]
