"""Which pictures must not be driven by: dark, unlike the training data, or frozen."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from grasp_ros.control.observation import Picture
from grasp_ros.models.protocol import HasDecoder, HasManifold, WorldModel, side_by_side

LEVELS = 255.0
UNKNOWN = float('nan')

NoveltyMeasure = Callable[[Tensor, Tensor], Tensor]
"""Latents (N, *Z) and images (N, 3, h, w), of C cameras (N, C, 3, h, w), to novelty (N).

1 is the most of familiar pictures.
"""


@dataclass(frozen=True)
class GuardConfig:
    """Bounds of pictures; zeros switch guards off.

    Attributes:
        frozen_timeout: seconds of expected visible motion in which pictures must change.
        frozen_tolerance: levels (of 255) that pictures which are the same may differ by; noise
            of a live camera exceeds it somewhere in the picture.
        visible_change: squared latent change in one model step from which motion must be visible.
        min_brightness: mean of the model's input, levels.
        min_contrast: standard deviation of the model's input, levels.
        max_novelty: above it a picture is too unlike the training data.
        novel_images: pictures in a row that are.
    """

    frozen_timeout: float = 0.0
    frozen_tolerance: float = 0.0
    visible_change: float = float('inf')
    min_brightness: float = 0.0
    min_contrast: float = 0.0
    max_novelty: float = 0.0
    novel_images: int = 3


@dataclass(frozen=True, eq=False)
class Seen:
    """What the cameras show, and what the model makes of it.

    Attributes:
        stamp_ns: when it was taken.
        pictures: of each camera (h, w, 3) uint8 RGB.
        pixels: the model's input (3, h', w') in [0, 1]; of several cameras (C, 3, h', w').
        latent: (*Z).
        expected_change: gives the mean squared change of the latent that the model predicts for
            one step of the commands in force before it; raises what the model raises.
    """

    stamp_ns: int
    pictures: tuple[Picture, ...]
    pixels: Tensor
    latent: Tensor
    expected_change: Callable[[], float]


@dataclass(frozen=True)
class ImageCheck:
    """What a picture is good for.

    Attributes:
        fault: why it must not be driven by; empty where it may.
        novelty: 1 is the most of familiar pictures; NaN where nothing measures it.
        unfamiliar: whether novelty was above 1 in as many pictures in a row as count.
    """

    fault: str = ''
    novelty: float = UNKNOWN
    unfamiliar: bool = False


class ImageGuard:
    """Judges pictures one after another."""

    def __init__(self, novelty: NoveltyMeasure | None = None) -> None:
        """Judge without novelty where nothing measures it."""
        self._novelty = novelty
        self.clear()

    def clear(self) -> None:
        """Forget all pictures."""
        self._verdict: ImageCheck | None = None
        self._reference: tuple[Picture, ...] | None = None
        self._stamp_ns = 0
        self._unchanged_ns = 0
        self._above_one = 0
        self._above_bound = 0

    def examine(self, seen: Seen, config: GuardConfig) -> ImageCheck:
        """Judge the newest picture; one with the stamp of the last is the last."""
        if self._verdict is not None and seen.stamp_ns == self._stamp_ns:
            return self._verdict
        novelty = self._measure(seen, config)
        self._above_one = self._above_one + 1 if novelty > 1.0 else 0
        self._above_bound = self._above_bound + 1 if novelty > config.max_novelty else 0
        frozen = self._frozen(seen, config)
        fault = _dark(seen.pixels, config)
        if not fault and self._above_bound >= config.novel_images:
            fault = (
                f'the picture is unlike the training data: novelty {novelty:.2f}, '
                f'max_novelty is {config.max_novelty:.2f}'
            )
        unfamiliar = self._above_one >= config.novel_images
        self._stamp_ns = seen.stamp_ns
        self._verdict = ImageCheck(fault or frozen, novelty, unfamiliar)
        return self._verdict

    def _measure(self, seen: Seen, config: GuardConfig) -> float:
        if self._novelty is None or not config.max_novelty:
            return UNKNOWN
        images = seen.pixels[None].to(seen.latent)
        return float(self._novelty(seen.latent[None], images)[0])

    def _frozen(self, seen: Seen, config: GuardConfig) -> str:
        """Count the time in which motion was to be seen and was not; why that is too long.

        Not every one of several cameras must see the motion: all of them have to stand still.
        """
        if not config.frozen_timeout:
            return ''
        reference, tolerance = self._reference, config.frozen_tolerance
        same = reference is not None and all(
            alike(before, now, tolerance)
            for before, now in zip(reference, seen.pictures, strict=True)
        )
        if not same:
            self._reference, self._unchanged_ns = seen.pictures, 0
        elif seen.expected_change() > config.visible_change:
            self._unchanged_ns += seen.stamp_ns - self._stamp_ns
        seconds = self._unchanged_ns / 1e9
        if seconds < config.frozen_timeout:
            return ''
        return (
            f'the camera is frozen: no change in {seconds:.2f} s of commanded motion, '
            f'frozen_timeout is {config.frozen_timeout:.2f} s'
        )


def alike(first: Picture, second: Picture, tolerance: float) -> bool:
    """Whether pictures (h, w, 3) uint8 differ nowhere by more than so many levels."""
    if first.shape != second.shape:
        return False
    if not tolerance:
        return np.array_equal(first, second)
    difference = np.maximum(first, second) - np.minimum(first, second)
    return float(difference.max()) <= tolerance


def _dark(pixels: Tensor, config: GuardConfig) -> str:
    """Why a picture (3, h, w), or one of several (C, 3, h, w), shows too little."""
    cameras = pixels[None] if pixels.dim() == 3 else pixels
    for number, camera in enumerate(cameras, 1):
        which = 'the picture' + (f' of camera {number}' if len(cameras) > 1 else '')
        brightness = LEVELS * float(camera.mean())
        if brightness < config.min_brightness:
            return (
                f'{which} is dark: mean {brightness:.1f} of {LEVELS:.0f}, '
                f'min_brightness is {config.min_brightness:.1f}'
            )
        contrast = LEVELS * float(camera.std(correction=0))
        if contrast < config.min_contrast:
            return (
                f'{which} shows nothing: standard deviation {contrast:.1f} of {LEVELS:.0f}, '
                f'min_contrast is {config.min_contrast:.1f}'
            )
    return ''


@dataclass(frozen=True, eq=False)
class Novelty:
    """The larger of two measures, each in units of what 1 of 1000 familiar pictures exceeds.

    Either misses what the other sees: the decoder leaves out what the encoder ignores, as noise
    and changed colours; the denoiser of latents knows which latents no familiar picture has.

    Attributes:
        model: the world model.
        reconstruction_bound: of `reconstruction_error`; None leaves it out.
        off_manifold_bound: of the model's `off_manifold`; None leaves it out.
    """

    model: WorldModel
    reconstruction_bound: float | None = None
    off_manifold_bound: float | None = None

    @torch.no_grad()
    def __call__(self, latents: Tensor, images: Tensor) -> Tensor:
        """Novelty (N) of pictures.

        Args:
            latents: (N, *Z), what the images are encoded to.
            images: (N, 3, h, w) in [0, 1]; of C cameras (N, C, 3, h, w).
        """
        measures = [latents.new_zeros(len(latents))]
        if self.reconstruction_bound is not None:
            error = reconstruction_error(self.model, latents, images)
            measures.append(error / self.reconstruction_bound)
        if self.off_manifold_bound is not None:
            distance = cast(HasManifold, self.model).off_manifold(latents)
            measures.append(distance / self.off_manifold_bound)
        return torch.stack(measures).amax(dim=0)


@torch.no_grad()
def reconstruction_error(model: WorldModel, latents: Tensor, images: Tensor) -> Tensor:
    """Root-mean-square error (N) of decoded latents (N, *Z) to their images.

    Images are (N, 3, h, w), or (N, C, 3, h, w) of C cameras.
    """
    decoded = cast(HasDecoder, model).decode(latents)
    return (decoded - side_by_side(images.to(decoded))).square().mean(dim=(1, 2, 3)).sqrt()


MAX_STEPS = 5
"""How far back predictions begin: long enough for errors to show, short enough for one cause."""


class Sight(Protocol):
    """What the model saw at one time."""

    @property
    def context(self) -> Tensor:
        """Latents (1, H, *Z), newest last."""
        ...

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """Of the frames behind them."""
        ...


class PredictionCheck:
    """Rolls a former sight forward along the commands really published and compares.

    Attributes:
        error: of the newest comparison, in model steps of motion: the root-mean-square distance of
            latents, divided by that of one step; NaN while nothing can be compared.
    """

    def __init__(self, step_ns: int, one_step: float) -> None:
        """Compare sights up to `MAX_STEPS` model steps apart.

        Args:
            step_ns: of the model.
            one_step: mean squared latent distance of one step of motion; NaN where unknown.
        """
        self._step_ns = step_ns
        self._one_step = one_step
        self.clear()

    def clear(self) -> None:
        """Forget former sights."""
        self._former: deque[Sight] = deque()
        self.error = math.nan

    def update(self, now: Sight, roll: Callable[[Sight, int], Tensor]) -> float:
        """Compare with the oldest former sight a whole number of steps before `now`.

        Args:
            now: the newest sight; kept for later comparisons.
            roll: gives the latent (1, *Z) that the model predicts so many steps after a sight, or
                the first elements of its last axis, which are compared.

        Returns:
            The new `error`.
        """
        newest = now.stamps_ns[-1]
        if self._former and newest <= self._former[-1].stamps_ns[-1]:
            return self.error
        while self._former and self._steps(self._former[0], newest) > MAX_STEPS:
            self._former.popleft()
        sight = next((one for one in self._former if self._whole(one, newest)), None)
        self.error = math.nan
        if sight is not None:
            predicted = roll(sight, self._steps(sight, newest))
            seen = now.context[:, -1][..., : predicted.shape[-1]]
            squared = float((predicted - seen).square().mean())
            self.error = math.sqrt(squared / self._one_step)
        self._former.append(now)
        return self.error

    def _steps(self, sight: Sight, newest_ns: int) -> int:
        return round((newest_ns - sight.stamps_ns[-1]) / self._step_ns)

    def _whole(self, sight: Sight, newest_ns: int) -> bool:
        """Whether a whole number of steps lies between, to a quarter of one."""
        gap = newest_ns - sight.stamps_ns[-1]
        steps = self._steps(sight, newest_ns)
        return steps > 0 and 4 * abs(gap - steps * self._step_ns) <= self._step_ns
