"""Which pictures must not be driven by: dark, unlike the training data, or frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from grasp_ros.control.observation import Picture

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
class Verdict:
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
        self._verdict: Verdict | None = None
        self._reference: tuple[Picture, ...] | None = None
        self._stamp_ns = 0
        self._unchanged_ns = 0
        self._above_one = 0
        self._above_bound = 0

    def examine(self, seen: Seen, config: GuardConfig) -> Verdict:
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
        self._verdict = Verdict(fault or frozen, novelty, unfamiliar)
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
