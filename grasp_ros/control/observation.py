"""Observations and goals, and their encoding: sensor data, images given to the model, latents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.types import Timer, untimed
from grasp_ros.models.protocol import LoadedModel, Observation
from grasp_ros.models.sensors import RgbImage

ImageSource = RgbImage | Callable[[], RgbImage]


@dataclass(frozen=True, eq=False)
class SensorData:
    """Decoded data of all sensors at one time.

    Attributes:
        images: one (h, w, 3) uint8 RGB of each camera.
        proprioception: (Q,) in physical units, or None: goals have none.
    """

    images: tuple[RgbImage, ...]
    proprioception: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class StampedObservation:
    """Data of all sensors at one time, images perhaps not decoded yet.

    Attributes:
        source: image (h, w, 3) uint8 RGB, or a function that decodes it when needed; of several
            cameras a tuple of those.
        stamp_ns: acquisition time.
        proprioception: (Q,) in physical units, or None.
    """

    source: ImageSource | tuple[ImageSource, ...]
    stamp_ns: int
    proprioception: NDArray[np.float64] | None = None

    def decode(self) -> SensorData:
        """Decode the images; raises what the decoders raise."""
        sources = self.source if isinstance(self.source, tuple) else (self.source,)
        images = tuple(source() if callable(source) else source for source in sources)
        return SensorData(images, self.proprioception)


@dataclass(frozen=True, eq=False)
class Goal:
    """A goal image as it arrived, and as the model's cameras would see it.

    Attributes:
        number: tells goals apart.
        image: (h, w, 3) uint8 RGB, all cameras side by side.
        data: the images of each camera.
        tolerance: goal distance that counts as reached; None for that of the config.
    """

    number: int
    image: RgbImage
    data: SensorData
    tolerance: float | None


def split_goal(image: RgbImage, cameras: int) -> SensorData:
    """Split a goal image (h, w, 3), which shows all cameras side by side.

    Raises:
        ValueError: if the width cannot be divided among the cameras.
    """
    if image.shape[1] % cameras:
        raise ValueError(
            f'the goal image is {image.shape[1]} pixels wide; for this model it shows the '
            f'images of {cameras} cameras side by side, all of one width'
        )
    return SensorData(tuple(np.split(image, cameras, axis=1)))


@dataclass(frozen=True, eq=False)
class LatentContext:
    """Latents of the newest frames, one model step apart.

    Attributes:
        latents: (1, H, *Z), newest last.
        stamps_ns: of the H frames, newest last.
    """

    latents: Tensor
    stamps_ns: tuple[int, ...]

    @property
    def newest(self) -> Tensor:
        """Latent (1, *Z) of the newest frame."""
        return self.latents[:, -1]

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest frame."""
        return self.stamps_ns[-1]


@dataclass(frozen=True, eq=False)
class EncodedObservation:
    """The newest observation with all that was made of it, and the goal's latent.

    Attributes:
        data: the newest frame, decoded.
        pixels: the model's input made of it (3, h', w') in [0, 1]; of several cameras
            (C, 3, h', w').
        context: latents of the newest frame and of those before.
        goal: latent (1, *Z), or None without a goal.
    """

    data: SensorData
    pixels: Tensor
    context: LatentContext
    goal: Tensor | None


class ObservationEncoder:
    """Encodes each frame and each goal once."""

    def __init__(self, loaded: LoadedModel, step_ns: int, timer: Timer = untimed) -> None:
        """Encode with the model of `loaded`, whose steps take `step_ns`."""
        self._loaded = loaded
        self._step_ns = step_ns
        self._timer = timer
        self._latents: OrderedDict[int, Tensor] = OrderedDict()
        self._newest: tuple[int, SensorData, Tensor] | None = None
        self._goal: tuple[int, Tensor] | None = None

    def reset(self) -> None:
        """Drop the latents of all frames; the goal's stays."""
        self._latents.clear()
        self._newest = None

    def encode(
        self, frames: tuple[StampedObservation, ...], goal: Goal | None = None
    ) -> EncodedObservation:
        """Encode the newest frame, those one model step apart before it, and the goal.

        Args:
            frames: in the order of their stamps, at least one; a short history is padded with its
                oldest frame.
            goal: or None.

        Raises:
            Exception: whatever decoding or the model raises.
        """
        goal_latent = self._encode_goal(goal)
        chosen = self._one_step_apart(frames)
        latents = [self._encode_frame(frame) for frame in reversed(chosen)]
        oldest = chosen[-1].stamp_ns
        while self._latents and next(iter(self._latents)) < oldest:
            self._latents.popitem(last=False)
        stamps = tuple(frame.stamp_ns for frame in reversed(chosen))
        assert self._newest is not None
        _, data, pixels = self._newest
        context = LatentContext(torch.stack(latents)[None], stamps)
        return EncodedObservation(data, pixels, context, goal_latent)

    def _one_step_apart(self, frames: tuple[StampedObservation, ...]) -> list[StampedObservation]:
        """The newest frame and those nearest to whole model steps before it, newest first."""
        newest = frames[-1].stamp_ns
        chosen: list[StampedObservation] = []
        for back in range(self._loaded.model.history):
            wanted = newest - back * self._step_ns
            nearest = min(frames, key=lambda frame: abs(frame.stamp_ns - wanted))
            late = abs(nearest.stamp_ns - wanted) > self._step_ns // 2
            chosen.append(chosen[-1] if late else nearest)
        return chosen

    def _encode_frame(self, frame: StampedObservation) -> Tensor:
        """Latent (*Z) of a frame; of the newest one data and pixels are kept, too."""
        if frame.stamp_ns not in self._latents:
            with self._timer('decode', frame.stamp_ns):
                data = frame.decode()
            pixels, latent = self._encode(data, frame.stamp_ns)
            self._latents[frame.stamp_ns] = latent
            if self._newest is None or frame.stamp_ns > self._newest[0]:
                self._newest = frame.stamp_ns, data, pixels
        return self._latents[frame.stamp_ns]

    def _encode_goal(self, goal: Goal | None) -> Tensor | None:
        if goal is None:
            return None
        if self._goal is None or self._goal[0] != goal.number:
            self._goal = goal.number, self._encode(goal.data)[1][None]
        return self._goal[1]

    def _encode(self, data: SensorData, stamp_ns: int = 0) -> tuple[Tensor, Tensor]:
        """Model's input made of sensor data of `stamp_ns`, and its latent (*Z)."""
        model = self._loaded.model
        with self._timer('preprocess', stamp_ns):
            images = [self._loaded.preprocess(image) for image in data.images]
            pixels = torch.from_numpy(images[0] if len(images) == 1 else np.stack(images))
        with self._timer('encode', stamp_ns):
            batch = pixels[None, None].to(model.device, model.dtype)
            values = self._proprioception(data)
            values = values if values is None else values.to(batch)
            return pixels, model.encode(Observation(batch, values))[0, 0]

    def _proprioception(self, data: SensorData) -> Tensor | None:
        """Normalised proprioception (1, 1, Q), or None where there is none."""
        space = self._loaded.sensors.proprioception
        if space is None or data.proprioception is None:
            return None
        return torch.from_numpy(space.normalise(data.proprioception))[None, None]
