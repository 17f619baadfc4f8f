"""What the benchmark compares: planners of the registry with named settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PUBLISHED: Mapping[str, Any] = {
    'goal_distance': 'latent',
    'iterations': 750,
    'candidates': 1,
    'state_rate': 0.1,
    'action_rate': 0.005,
    'state_noise': 0.005,
    'state_noise_end': 0.005,
    'goal_weight': 1.0,
    'goal_weight_end': 1.0,
    'sync_every': 50,
    'sync_steps': 10,
    'sync_rate': 0.05,
    'path_weight': 0.0,
    'seed_greedy': False,
    'proposals': 0,
}
LATENT: Mapping[str, Any] = {'goal_distance': 'latent'}


@dataclass(frozen=True)
class Variant:
    """A row of the tables.

    Attributes:
        planner: name in the registry.
        options: settings that are not the planner's defaults.
        full_only: too slow for the short run.
    """

    planner: str
    options: Mapping[str, Any] = field(default_factory=dict)
    full_only: bool = False


VARIANTS: Mapping[str, Variant] = {
    'grasp': Variant('grasp'),
    'grasp, no lifted iterations': Variant('grasp', {'iterations': 0}),
    'grasp, published': Variant('grasp', PUBLISHED, full_only=True),
    'grasp, latent distance': Variant('grasp', LATENT),
    'grasp, no sync': Variant('grasp', {'sync_every': 0}, full_only=True),
    'grasp, state gradients': Variant('grasp', {'stop_gradient': False}, full_only=True),
    'grasp, no noise': Variant('grasp', {'state_noise': 0.0}, full_only=True),
    'grasp, no goal shaping': Variant(
        'grasp', {'goal_weight': 0.0, 'goal_weight_end': 0.0}, full_only=True
    ),
    'greedy': Variant('greedy'),
    'cem': Variant('cem'),
    'cem, latent distance': Variant('cem', LATENT, full_only=True),
    'icem': Variant('icem'),
    'mppi': Variant('mppi'),
    'gradient': Variant('gradient'),
    'gradient, latent distance': Variant('gradient', LATENT, full_only=True),
    'latco': Variant('latco', full_only=True),
    'random_shooting': Variant('random_shooting'),
}
