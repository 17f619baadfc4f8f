"""Which episodes are for what: tuning and evaluation never share one."""

from __future__ import annotations

EVALUATION_SEED = 1000
TUNING_SEED = 100_000
SEEDS_PER_MODEL = 1000


def evaluation_seeds(model: int, count: int) -> tuple[int, ...]:
    """Seeds of the episodes of a model: others for every one.

    Args:
        model: its position among the models.
        count: of the episodes.

    Raises:
        ValueError: if the seeds would run into the next model's or the tuning seeds.
    """
    first = EVALUATION_SEED + SEEDS_PER_MODEL * model
    if count > SEEDS_PER_MODEL or first + count > TUNING_SEED:
        raise ValueError(
            f'{count} episodes on model {model}: each model has {SEEDS_PER_MODEL} seeds, and all '
            f'are below {TUNING_SEED}'
        )
    return tuple(range(first, first + count))


def tuning_seeds(count: int) -> tuple[int, ...]:
    """Seeds of the episodes that settings are chosen on."""
    return tuple(range(TUNING_SEED, TUNING_SEED + count))
