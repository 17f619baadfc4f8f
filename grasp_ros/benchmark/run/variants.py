"""Rows of the benchmark: planners of the registry with named settings.

To add a row, add an entry to BASELINES, ABLATIONS or OWN; `benchmark --planners NAME` then runs it.
GRASP has the options of `planning/ablations` here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.ablations.grasp_variants import GraspAblation, GraspAblationConfig
from grasp_ros.planning.options import DistanceOptions
from grasp_ros.planning.protocol import Planner
from grasp_ros.planning.registry import PLANNERS, Entry

LATENT: Mapping[str, Any] = {'goal_distance': 'latent'}
LEARNED: Mapping[str, Any] = {'goal_distance': 'auto'}
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
INITIAL_GUESSES: Mapping[str, Any] = {'seed_greedy': True, 'proposals': 8}
"""The initial guesses of GRASP as shipped, given to baselines in rows of their own."""

WITH_GUESSES = ', seeded'
"""Ends the names of those rows."""

SHIPPED = 'grasp'
"""The planner that all others are tested against."""


SYNC: Mapping[str, Any] = {'sync_every': 6}
"""Once in a solve of GRASP as shipped."""


@dataclass(frozen=True)
class Variant:
    """A row of the tables.

    Attributes:
        planner: name in the registry.
        options: settings that are not the planner's defaults; GRASP's may be an ablation's.
        short: whether the short run has it.
    """

    planner: str
    options: Mapping[str, Any] = field(default_factory=dict)
    short: bool = False


OWN: Mapping[str, Variant] = {
    SHIPPED: Variant('grasp', short=True),
    'grasp, published': Variant('grasp', PUBLISHED),
    'grasp, published, learned distance': Variant('grasp', {**PUBLISHED, **LEARNED}),
    'grasp, CEM sync': Variant('grasp', {**SYNC, 'sync_kind': 'cem'}),
    'grasp, latent distance': Variant('grasp', LATENT),
}

BASELINES: Mapping[str, Variant] = {
    'cem': Variant('cem', {'samples': 64, 'rounds': 3, 'elites': 8}, short=True),
    'cem, coloured noise': Variant(
        'cem', {'samples': 64, 'rounds': 3, 'elites': 8, 'noise_beta': 2.0}
    ),
    'icem': Variant('icem', {'samples': 64, 'rounds': 3, 'noise_beta': 2.5}, short=True),
    'mppi': Variant('mppi', {'samples': 64, 'rounds': 3, 'temperature': 0.1}, short=True),
    'gradient': Variant('gradient', {'iterations': 10, 'starts': 4}, short=True),
    'latco': Variant('latco', {'iterations': 20}),
    'random_shooting': Variant('random_shooting', {'proposals': 32}, short=True),
}
"""Picked by `benchmark --tune --tasks maze` with GRASP's initial guesses
(benchmark_results/tuning_maze.md), but for latco, which was not: its steps take too long."""

COMPARED: Mapping[str, Variant] = {
    **OWN,
    'greedy': Variant('greedy', short=True),
    **BASELINES,
    **{
        # What a baseline says of its own proposals stands: they are all that random shooting has.
        f'{name}{WITH_GUESSES}': Variant(baseline.planner, {**INITIAL_GUESSES, **baseline.options})
        for name, baseline in BASELINES.items()
    },
}

ABLATIONS: Mapping[str, Variant] = {
    SHIPPED: OWN[SHIPPED],
    'grasp, no sync': Variant('grasp', {'sync_every': 0}),
    'grasp, sync': Variant('grasp', SYNC),
    'grasp, sync of 10 steps': Variant('grasp', {**SYNC, 'sync_steps': 10}),
    'grasp, sync and noise': Variant('grasp', {**SYNC, 'state_noise': 0.02}),
    'grasp, 3 iterations': Variant('grasp', {'iterations': 3}),
    'grasp, 3 iterations, sync': Variant('grasp', {'iterations': 3, 'sync_every': 3}),
    'grasp, 24 iterations': Variant('grasp', {'iterations': 24}),
    'grasp, state gradients on': Variant('grasp', {'stop_gradient': False}),
    'grasp, noise 0.01': Variant('grasp', {'state_noise': 0.01}),
    'grasp, noise 0.02': Variant('grasp', {'state_noise': 0.02}),
    'grasp, noise 0.05': Variant('grasp', {'state_noise': 0.05}),
    'grasp, noise 0.1': Variant('grasp', {'state_noise': 0.1}),
    'grasp, no goal shaping': Variant('grasp', {'goal_weight': 0.0, 'goal_weight_end': 0.0}),
    'grasp, no lifted iterations': Variant('grasp', {'iterations': 0}),
    'grasp, 1 candidate': Variant('grasp', {'candidates': 1}),
    'grasp, 8 candidates': Variant('grasp', {'candidates': 8}),
    'grasp, 32 candidates': Variant('grasp', {'candidates': 32}),
    'grasp, 1 candidate, no proposals': Variant('grasp', {'candidates': 1, 'proposals': 0}),
    'grasp, no greedy seed': Variant('grasp', {'seed_greedy': False}),
    'grasp, no proposals': Variant('grasp', {'proposals': 0}),
    'grasp, latent distance': OWN['grasp, latent distance'],
    'grasp, learned distance': Variant('grasp', LEARNED),
    'grasp, Gauss-Newton actions': Variant('grasp', {'action_step': 'gauss_newton'}),
    'grasp, sync by sweeps': Variant('grasp', {**SYNC, 'sync_kind': 'sweeps'}),
    'grasp, iterations while they help': Variant(
        'grasp', {**SYNC, 'iterations': 60, 'patience': 1}
    ),
    'grasp, 8 candidates halved': Variant(
        'grasp', {**SYNC, 'iterations': 18, 'candidates': 8, 'keep': 0.5}
    ),
    'grasp, units of the spread': Variant('grasp', {'spread_units': True}),
    'grasp, free final time': Variant(
        'grasp', {'free_final_time': True, 'time_charge': 0.3}
    ),
}

VARIANTS: Mapping[str, Variant] = {**COMPARED, **ABLATIONS}

ABLATED: Mapping[str, Entry] = {'grasp': Entry(GraspAblationConfig, GraspAblation)}
"""Stand-ins of a planner that is given options which only its ablation has."""


def resolved(planner: str, options: Mapping[str, Any]) -> DistanceOptions:
    """The whole configuration of a planner of the registry, or of its ablation."""
    return _entry(planner, options).config(**options)


def build(planner: str, model: WorldModel, options: Mapping[str, Any]) -> Planner:
    """The planner of that name in the registry, or its ablation, as `registry.build`."""
    return _entry(planner, options).planner(model, resolved(planner, options))


def _entry(planner: str, options: Mapping[str, Any]) -> Entry:
    entry = PLANNERS[planner]
    if options.keys() <= {option.name for option in fields(entry.config)}:
        return entry
    return ABLATED.get(planner, entry)


EVALUATION_SEED = 1000
TUNING_SEED = 100_000
SEEDS_PER_MODEL = 1000


def evaluation_seeds(model: int, count: int) -> tuple[int, ...]:
    """Seeds of the episodes of a model that results are reported on: others for every one.

    Args:
        model: its position among the models.
        count: of the episodes.

    Raises:
        ValueError: if the seeds would run into the next model's or the tuning seeds.
    """
    seeds = _seeds(EVALUATION_SEED, model, count)
    if seeds and seeds[-1] >= TUNING_SEED:
        raise ValueError(f'model {model} has no seeds below {TUNING_SEED}, where tuning begins')
    return seeds


def tuning_seeds(model: int, count: int) -> tuple[int, ...]:
    """Seeds of the episodes of a model that settings are chosen on; as `evaluation_seeds`."""
    return _seeds(TUNING_SEED, model, count)


def _seeds(first: int, model: int, count: int) -> tuple[int, ...]:
    if count > SEEDS_PER_MODEL:
        raise ValueError(f'{count} episodes: each model has {SEEDS_PER_MODEL} seeds')
    first += SEEDS_PER_MODEL * model
    return tuple(range(first, first + count))


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
    """Name of a planner in the tables with so many times the compute budget."""
    return name if effort == 1 else f'{name}{SIGN}{effort}'


def base_name(name: str) -> str:
    """The planner's name without its compute budget."""
    base, sign, effort = name.rpartition(SIGN)
    return base if sign and effort.isdecimal() else name


def with_effort(variant: Variant, effort: int) -> Variant:
    """A planner with `effort` times the compute budget: iterations, rounds or tries."""
    if effort == 1:
        return variant
    option = SPENT_ON[variant.planner]
    config = resolved(variant.planner, variant.options)
    more = {option: effort * getattr(config, option)}
    return replace(variant, options={**variant.options, **more})
