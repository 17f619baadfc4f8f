"""The rows of the Push-T tables: those of `variants`, with settings chosen on Push-T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grasp_ros.benchmark.run.variants import LATENT, RIVALS, SEEDED, SEEDS, VARIANTS, Variant

PICKS: Mapping[str, Mapping[str, Any]] = {
    'grasp': {'iterations': 12, 'sync_every': 6, 'sync_steps': 10, **LATENT},
    'greedy': {'choices': 256, **LATENT},
    'cem': {'samples': 300, 'rounds': 10, 'elites': 37, **LATENT},
    'icem': {'samples': 128, 'rounds': 6, **LATENT},
    'mppi': {'samples': 64, 'rounds': 3, **LATENT},
    'gradient': {'iterations': 25, **LATENT},
    'latco': {'iterations': 10, **LATENT},
    'random_shooting': {'proposals': 512, **LATENT},
}
"""By planner of the registry, from `push_t --tune` (benchmark_results/tuning_push_t.md).

GRASP had four more settings than the others, tried later on the tuning seeds: longer syncs. These
reached 59 of 100 goals at H = 40 and 50, as many iterations without any 45
(benchmark_results/push_t_sync.md).
"""

AS_PUBLISHED = ('grasp, published',)
"""Rows whose settings are somebody else's."""


def _settled(name: str, variant: Variant) -> Variant:
    """A row with what was picked for its planner, in place of what was for other tasks.

    What makes a row of GRASP or of coloured noise what it is stays as it is.
    """
    if name in AS_PUBLISHED:
        return variant
    picked = PICKS[variant.planner]
    rival = name.removesuffix(SEEDED)
    if rival not in RIVALS:
        return replace(variant, options={**picked, **variant.options})
    coloured = {'noise_beta': variant.options['noise_beta']} if 'coloured' in name else {}
    seeds = SEEDS if name.endswith(SEEDED) else {}
    return replace(variant, options={**seeds, **picked, **coloured})


PUSH_T_VARIANTS: Mapping[str, Variant] = {
    name: _settled(name, variant) for name, variant in VARIANTS.items()
}
