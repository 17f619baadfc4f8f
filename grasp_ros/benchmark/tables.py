"""Benchmark results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def success_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Success, steps and time by planner and horizon."""
    lines = [
        '| planner | T | loop | success (95 %) | through the door | median steps '
        '| median planning time of the successes, s | mean replan, ms | predictor calls a solve |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        low, high = (round(100 * bound) for bound in row['success_ci'])
        door = row['success_through_door']
        lines.append(
            f'| {row["planner"]} | {row["horizon"]} | {"closed" if row["closed_loop"] else "open"} '
            f'| {100 * row["success"]:.0f} % ({low} to {high}) | {door[0]} of {door[1]} '
            f'| {_shown(row["median_steps"], "g")} | {_shown(row["median_time_s"], ".2f")} '
            f'| {row["replan_ms"]:.1f} | {row["predictor_calls"]:.0f} |'
        )
    return '\n'.join(lines)


def paired_table(tests: Sequence[Mapping[str, Any]]) -> str:
    """McNemar tests against the first planner."""
    lines = ['| T | planners | only the first | only the second | p |', '|---|---|---|---|---|']
    lines += [
        f'| {test["horizon"]} | {test["first"]} / {test["second"]} | {test["only_first"]} '
        f'| {test["only_second"]} | {test["p"]:.3g} |'
        for test in tests
    ]
    return '\n'.join(lines)


def speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Iteration times, batched and as a loop."""
    lines = [
        '| goal distance | candidates | T | batched, ms | loop over time, ms | ratio |',
        '|---|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["goal_distance"]} | {row["candidates"]} | {row["horizon"]} '
        f'| {row["iteration_ms"]:.2f} | {row["per_step_loop_ms"]:.2f} | {row["ratio"]:.1f} |'
        for row in rows
    ]
    return '\n'.join(lines)


def _shown(value: float | None, form: str) -> str:
    return '-' if value is None else f'{value:{form}}'
