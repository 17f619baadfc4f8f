"""Which episodes are for what: tuning and evaluation never share one."""

from __future__ import annotations

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
