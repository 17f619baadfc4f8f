"""Schema of manifest.json, which tells all about a model but its weights."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.calibration import Calibration, Strict
from grasp_ros.models.registry import Family
from grasp_ros.models.sensors import CAMERA, PROPRIOCEPTION, ProprioceptionSpace, SensorSpec


class ImagePipeline(Strict):
    """How a camera image becomes the encoder's input."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    fit: Literal['stretch', 'crop'] = 'stretch'


class ActionManifest(Strict):
    """Components of one command in physical units, and their statistics in the training data."""

    kind: ActionKind
    names: list[str] = Field(min_length=1)
    units: list[str]
    low: list[float]
    high: list[float]
    mean: list[float]
    std: list[float]

    @model_validator(mode='after')
    def _consistent(self) -> ActionManifest:
        for name in ('units', 'low', 'high', 'mean', 'std'):
            if len(getattr(self, name)) != len(self.names):
                raise ValueError(f'action.{name} needs {len(self.names)} entries, as action.names')
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError('action.low must be below action.high in every component')
        if not all(value > 0 for value in self.std):
            raise ValueError('action.std must be positive in every component')
        return self


class ProprioceptionManifest(Strict):
    """Components of proprioception in physical units, and their statistics in training."""

    names: list[str] = Field(min_length=1)
    units: list[str]
    mean: list[float]
    std: list[float]

    @model_validator(mode='after')
    def _consistent(self) -> ProprioceptionManifest:
        for name in ('units', 'mean', 'std'):
            if len(getattr(self, name)) != len(self.names):
                raise ValueError(
                    f'proprioception.{name} needs {len(self.names)} entries, as '
                    'proprioception.names'
                )
        if len(set(self.names)) != len(self.names):
            raise ValueError('proprioception.names must differ')
        if not all(value > 0 for value in self.std):
            raise ValueError('proprioception.std must be positive in every component')
        return self


class Manifest(Strict):
    """Everything about a model that its weights do not say.

    Of a model of the family `exported`, `weights_sha256` is of the predictor.
    """

    format: Literal['grasp_ros/1'] = 'grasp_ros/1'
    family: Family
    architecture: dict[str, int]
    weights_sha256: str = Field(pattern='^[0-9a-f]{64}$')
    encoder_sha256: str | None = Field(default=None, pattern='^[0-9a-f]{64}$')
    image: ImagePipeline
    cameras: list[str] = Field(default=[CAMERA], min_length=1)
    proprioception: ProprioceptionManifest | None = None
    history: int = Field(gt=0)
    model_dt: float = Field(gt=0, description='seconds of one model step')
    frame_skip: int = Field(gt=0, description='commands in one model step')
    action: ActionManifest
    calibration: Calibration
    training: dict[str, Any] = Field(default_factory=dict)

    @field_validator('cameras')
    @classmethod
    def _named_like_topics(cls, cameras: list[str]) -> list[str]:
        for name in cameras:
            if not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name) or name == PROPRIOCEPTION:
                raise ValueError(
                    f'camera {name!r}: a name has letters, digits and underscores, as in a topic, '
                    f'and is not {PROPRIOCEPTION!r}'
                )
        if len(set(cameras)) != len(cameras):
            raise ValueError('cameras must have different names')
        return cameras

    @property
    def inputs(self) -> SensorSpec:
        """Sensors that the model takes."""
        given = self.proprioception
        space = None if given is None else ProprioceptionSpace(
            tuple(given.names), tuple(given.units), np.array(given.mean), np.array(given.std)
        )
        return SensorSpec(tuple(self.cameras), space)

    @model_validator(mode='after')
    def _two_programs_or_weights(self) -> Manifest:
        if (self.family == 'exported') != (self.encoder_sha256 is not None):
            raise ValueError('encoder_sha256 goes with the family exported, and with no other')
        return self

    @property
    def control_rate(self) -> float:
        """Commands per second, Hz."""
        return self.frame_skip / self.model_dt

    @property
    def action_space(self) -> ActionSpace:
        """The action statistics in the core's terms."""
        action = self.action
        return ActionSpace(
            kind=action.kind,
            names=tuple(action.names),
            units=tuple(action.units),
            low=np.array(action.low),
            high=np.array(action.high),
            mean=np.array(action.mean),
            std=np.array(action.std),
            frame_skip=self.frame_skip,
        )
