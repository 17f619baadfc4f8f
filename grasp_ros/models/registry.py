"""Families of world models: what the manifest's `family` and `architecture` stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.models.published.dino_wm import DinoWm, DinoWmConfig
from grasp_ros.models.published.exported import ExportedModel
from grasp_ros.models.published.jepa_wm import JepaWm, JepaWmConfig
from grasp_ros.models.published.le_wm import LeWm, LeWmConfig

Family = Literal['compact', 'dino_wm', 'exported', 'jepa_wm', 'le_wm']
LearnedModel = CompactModel | DinoWm | ExportedModel | JepaWm | LeWm


@dataclass(frozen=True)
class Entry:
    """One family.

    Attributes:
        config: dataclass of its sizes, among them `image_size` and `action_dim`.
        model: class that is built from it.
    """

    config: Callable[..., Any]
    model: Callable[[Any], LearnedModel]


# Models of the family `exported` are no weights for a class of ours.
FAMILIES: dict[Family, Entry] = {
    'compact': Entry(CompactConfig, CompactModel),
    'dino_wm': Entry(DinoWmConfig, DinoWm),
    'jepa_wm': Entry(JepaWmConfig, JepaWm),
    'le_wm': Entry(LeWmConfig, LeWm),
}


def family_of(model: LearnedModel) -> Family:
    """The name of a model's family."""
    return next(name for name, entry in FAMILIES.items() if type(model) is entry.model)
