"""The rows of the Push-T tables: those of `variants`, with settings chosen on Push-T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grasp_ros.benchmark.variants import VARIANTS, Variant

PICKS: Mapping[str, Mapping[str, Any]] = {}
"""By planner of the registry, from `push_t --tune` (benchmark_results/tuning_push_t.md)."""

AS_PUBLISHED = ('grasp, published',)
"""Rows whose settings are somebody else's."""


def _settled(name: str, variant: Variant) -> Variant:
    """A row with what was picked for its planner, unless the row is about that very option."""
    if name in AS_PUBLISHED:
        return variant
    return replace(variant, options={**PICKS.get(variant.planner, {}), **variant.options})


PUSH_T_VARIANTS: Mapping[str, Variant] = {
    name: _settled(name, variant) for name, variant in VARIANTS.items()
}
