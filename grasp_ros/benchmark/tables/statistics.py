"""Uncertainty of success rates, and whether two planners differ."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import binomtest


def success_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's confidence interval of a success rate, as (low, high) in [0, 1]."""
    interval = binomtest(successes, trials).proportion_ci(confidence, method='wilson')
    return float(interval.low), float(interval.high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact McNemar test of two planners on the same episodes.

    Args:
        first: success of one planner in each episode.
        second: success of the other in the same episodes, in the same order.

    Returns:
        The two-sided p-value; 1 where they never differ.

    Raises:
        ValueError: if the numbers of episodes differ.
    """
    if len(first) != len(second):
        raise ValueError(f'{len(first)} and {len(second)} episodes cannot be paired')
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
