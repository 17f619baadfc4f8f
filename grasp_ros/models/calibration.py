"""Calibration in a manifest: goal distance to steps, unusual images; measured on held-out data."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

ONE_STEP = {'one_step_latent', 'one_step_time_to_reach'}
"""Fields that every manifest has."""


class Strict(BaseModel):
    """A part of a manifest: no unknown fields, no infinities, never changed."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


class DistanceCurve(Strict):
    """How a goal distance grows with the model steps between an image and the goal.

    Attributes:
        steps: model steps of steady motion between two images; the first is 0, a robot that
            stands before a noisy camera.
        median: of the distance between images so many steps apart.
        high: 95 % quantile of the same.
        noise: 99 % quantile of how much the distance to a goal one step away differs between two
            images of a robot that stands still.
        noise_ratio: the same of any goal, as a fraction of its distance.
    """

    steps: list[float] = Field(min_length=2)
    median: list[float]
    high: list[float]
    noise: float = Field(ge=0)
    noise_ratio: float = Field(ge=0)

    @model_validator(mode='after')
    def _consistent(self) -> DistanceCurve:
        if self.steps[0] != 0 or not (np.diff(self.steps) > 0).all():
            raise ValueError('steps must begin with 0 and increase')
        for name in ('median', 'high'):
            values = getattr(self, name)
            if len(values) != len(self.steps) or min(values) < 0:
                raise ValueError(f'{name} needs {len(self.steps)} entries >= 0, as steps')
        if not (np.array(self.median) <= self.high).all():
            raise ValueError('median must not be above high')
        return self

    def reached(self, tolerance: float) -> float:
        """Distance below which the goal counts as reached within `tolerance` model steps.

        The median: right at the tolerance, half of all images are below.
        """
        return self._at(self.median, tolerance)

    def released(self, tolerance: float) -> float:
        """Distance above which a goal that was reached no longer is.

        Few images within the tolerance are above, and noise alone does not get there.
        """
        return max(self._at(self.high, tolerance), self.reached(tolerance) + self.noise)

    def _at(self, values: list[float], steps: float) -> float:
        """Never falling with `steps`; beyond the last, on along the last slope."""
        rising = np.maximum.accumulate(values)
        beyond = max(0.0, steps - self.steps[-1])
        slope = (rising[-1] - rising[-2]) / (self.steps[-1] - self.steps[-2])
        return float(np.interp(steps, self.steps, rising) + beyond * slope)


class Calibration(Strict):
    """Measured on data recorded with the model; what is None was not measured.

    Attributes:
        one_step_latent: median latent distance between consecutive frames in motion; None in
            models that were converted without data.
        one_step_time_to_reach: the same of the learned head, in model steps; None without one.
        latent: how the latent distance grows; None in manifests from before it was measured.
        time_to_reach: the same of the learned head.
        reconstruction_bound: root-mean-square error of the decoder, in [0, 1], that 1 of 1000
            images exceeds.
        off_manifold_bound: the same of how far latents are off their manifold.
    """

    one_step_latent: float | None = Field(default=None, gt=0)
    one_step_time_to_reach: float | None = Field(default=None, gt=0)
    latent: DistanceCurve | None = None
    time_to_reach: DistanceCurve | None = None
    reconstruction_bound: float | None = Field(default=None, gt=0)
    off_manifold_bound: float | None = Field(default=None, gt=0)
