"""Checks of images: dark, unlike the training data, frozen, or not as predicted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from grasp_ros.control.observation import EncodedObservation, LatentContext
from grasp_ros.models.protocol import (
    HasDecoder,
    HasManifold,
    NoveltyMeasure,
    WorldModel,
    side_by_side,
)
from grasp_ros.models.sensors import RgbImage

LEVELS = 255.0
UNKNOWN = float('nan')

@dataclass(frozen=True)
class GuardConfig:
    """Bounds of the image checks; zeros switch checks off.

    Attributes:
        frozen_timeout: seconds of expected visible motion in which images must change.
        frozen_tolerance: levels (of 255) that images which are the same may differ by; noise
            of a live camera exceeds it somewhere in the image.
        visible_change: squared latent change in one model step from which motion must be visible.
        min_brightness: mean of the model's input, levels.
        min_contrast: standard deviation of the model's input, levels.
        max_novelty: above it an image is too unlike the training data.
        novel_images: images in a row that are.
    """

    frozen_timeout: float = 0.0
    frozen_tolerance: float = 0.0
    visible_change: float = float('inf')
    min_brightness: float = 0.0
    min_contrast: float = 0.0
    max_novelty: float = 0.0
    novel_images: int = 3


@dataclass(frozen=True)
class ImageCheck:
    """Result of the checks of an image: fault, and novelty (out-of-distribution score).

    Attributes:
        fault: why the robot must not be driven by it; empty where it may.
        novelty: 1 is the most of familiar images; NaN where nothing measures it.
        unfamiliar: whether novelty was above 1 in as many images in a row as count.
    """

    fault: str = ''
    novelty: float = UNKNOWN
    unfamiliar: bool = False


class ImageGuard:
    """Checks images one after another."""

    def __init__(self, novelty: NoveltyMeasure | None = None) -> None:
        """Check without novelty where nothing measures it."""
        self._novelty = novelty
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._result: ImageCheck | None = None
        self._reference: tuple[RgbImage, ...] | None = None
        self._stamp_ns = 0
        self._unchanged_ns = 0
        self._above_one = 0
        self._above_bound = 0

    def check(
        self,
        encoded: EncodedObservation,
        expected_change: Callable[[], float],
        config: GuardConfig,
    ) -> ImageCheck:
        """Check the newest image; one with the stamp of the last is the last.

        Args:
            encoded: the newest observation.
            expected_change: gives the mean squared change of the latent that the model predicts
                for one step of the commands in force before it; asked only where images stay the
                same, raises what the model raises.
            config: bounds.
        """
        stamp_ns = encoded.context.newest_ns
        if self._result is not None and stamp_ns == self._stamp_ns:
            return self._result
        novelty = self._measure(encoded, config)
        self._above_one = self._above_one + 1 if novelty > 1.0 else 0
        self._above_bound = self._above_bound + 1 if novelty > config.max_novelty else 0
        frozen = self._frozen(encoded, expected_change, config)
        fault = _dark(encoded.pixels, config)
        if not fault and self._above_bound >= config.novel_images:
            fault = (
                f'the image is unlike the training data: novelty {novelty:.2f}, '
                f'max_novelty is {config.max_novelty:.2f}'
            )
        unfamiliar = self._above_one >= config.novel_images
        self._stamp_ns = stamp_ns
        self._result = ImageCheck(fault or frozen, novelty, unfamiliar)
        return self._result

    def _measure(self, encoded: EncodedObservation, config: GuardConfig) -> float:
        if self._novelty is None or not config.max_novelty:
            return UNKNOWN
        latent = encoded.context.newest
        return float(self._novelty(latent, encoded.pixels[None].to(latent))[0])

    def _frozen(
        self,
        encoded: EncodedObservation,
        expected_change: Callable[[], float],
        config: GuardConfig,
    ) -> str:
        """Reason why the camera counts as frozen: too long no motion where some was expected.

        Not every one of several cameras must see the motion: all of them have to stand still.
        """
        if not config.frozen_timeout:
            return ''
        images, stamp_ns = encoded.data.images, encoded.context.newest_ns
        reference, tolerance = self._reference, config.frozen_tolerance
        same = reference is not None and all(
            alike(before, now, tolerance)
            for before, now in zip(reference, images, strict=True)
        )
        if not same:
            self._reference, self._unchanged_ns = images, 0
        elif expected_change() > config.visible_change:
            self._unchanged_ns += stamp_ns - self._stamp_ns
        seconds = self._unchanged_ns / 1e9
        if seconds < config.frozen_timeout:
            return ''
        return (
            f'the camera is frozen: no change in {seconds:.2f} s of commanded motion, '
            f'frozen_timeout is {config.frozen_timeout:.2f} s'
        )


def alike(first: RgbImage, second: RgbImage, tolerance: float) -> bool:
    """Return whether images (h, w, 3) uint8 differ nowhere by more than so many levels."""
    if first.shape != second.shape:
        return False
    if not tolerance:
        return np.array_equal(first, second)
    difference = np.maximum(first, second) - np.minimum(first, second)
    return float(difference.max()) <= tolerance


def _dark(pixels: Tensor, config: GuardConfig) -> str:
    """Reason why an image (3, h, w), or one of several (C, 3, h, w), shows too little."""
    cameras = pixels[None] if pixels.dim() == 3 else pixels
    for number, camera in enumerate(cameras, 1):
        which = 'the image' + (f' of camera {number}' if len(cameras) > 1 else '')
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
    """Novelty of images: the larger of two measures, each in units of what 1 of 1000 exceeds.

    Either misses what the other sees: the decoder leaves out what the encoder ignores, as noise
    and changed colours; the denoiser of latents knows which latents no familiar image has.

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
        """Novelty (N) of images.

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


class PredictionCheck:
    """Compares the newest latent with what the model predicts from an earlier context.

    Attributes:
        error: of the newest comparison, in model steps of motion: the root-mean-square distance of
            latents, divided by that of one step; NaN while nothing can be compared.
    """

    def __init__(self, step_ns: int, one_step: float) -> None:
        """Compare contexts up to `MAX_STEPS` model steps apart.

        Args:
            step_ns: of the model.
            one_step: mean squared latent distance of one step of motion; NaN where unknown.
        """
        self._step_ns = step_ns
        self._one_step = one_step
        self.reset()

    def reset(self) -> None:
        """Forget former contexts."""
        self._former: deque[LatentContext] = deque()
        self.error = math.nan

    def update(
        self, context: LatentContext, predict: Callable[[LatentContext, int], Tensor]
    ) -> float:
        """Compare with the oldest former context a whole number of steps before this one.

        Args:
            context: the newest; kept for later comparisons.
            predict: gives the latent (1, *Z) that the model predicts so many steps after a
                context along the commands really published, or the first elements of its last
                axis, which are compared.

        Returns:
            The new `error`.
        """
        newest = context.newest_ns
        if self._former and newest <= self._former[-1].newest_ns:
            return self.error
        while self._former and self._steps(self._former[0], newest) > MAX_STEPS:
            self._former.popleft()
        former = next((one for one in self._former if self._whole(one, newest)), None)
        self.error = math.nan
        if former is not None:
            predicted = predict(former, self._steps(former, newest))
            observed = context.newest[..., : predicted.shape[-1]]
            squared = float((predicted - observed).square().mean())
            self.error = math.sqrt(squared / self._one_step)
        self._former.append(context)
        return self.error

    def _steps(self, former: LatentContext, newest_ns: int) -> int:
        return round((newest_ns - former.newest_ns) / self._step_ns)

    def _whole(self, former: LatentContext, newest_ns: int) -> bool:
        """Return whether a whole number of steps lies between, to a quarter of one."""
        gap = newest_ns - former.newest_ns
        steps = self._steps(former, newest_ns)
        return steps > 0 and 4 * abs(gap - steps * self._step_ns) <= self._step_ns
