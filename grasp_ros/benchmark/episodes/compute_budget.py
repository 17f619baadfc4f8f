"""Planners given more effort: several times the iterations, rounds or tries of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from grasp_ros.benchmark.run.variants import Variant
from grasp_ros.planning.registry import PLANNERS

SIGN = ' x'
SPENT_ON: Mapping[str, str] = {
    'grasp': 'iterations',
    'gradient': 'iterations',
    'latco': 'iterations',
    'cem': 'rounds',
    'icem': 'rounds',
    'mppi': 'rounds',
    'random_shooting': 'proposals',
    'greedy': 'choices',
}
"""Which option of each planner buys more search."""


def name_with(name: str, effort: int) -> str:
    """What a planner is called in the tables with so many times the effort."""
    return name if effort == 1 else f'{name}{SIGN}{effort}'


def base_name(name: str) -> str:
    """The planner's name without its effort."""
    base, sign, effort = name.rpartition(SIGN)
    return base if sign and effort.isdecimal() else name


def with_effort(variant: Variant, effort: int) -> Variant:
    """A planner that searches `effort` times as much."""
    if effort == 1:
        return variant
    option = SPENT_ON[variant.planner]
    config = PLANNERS[variant.planner].config(**variant.options)
    more = {option: effort * getattr(config, option)}
    return replace(variant, options={**variant.options, **more})
