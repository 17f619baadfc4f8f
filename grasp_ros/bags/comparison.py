"""Two series of commands against each other: where they part, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grasp_ros.bags.message_types import BagError
from grasp_ros.bags.reader import BagReader
from grasp_ros.messages.commands import CommandLayout


@dataclass(frozen=True, eq=False)
class CommandSeries:
    """Commands in the order of their times.

    Attributes:
        times_ns: (N,) int64.
        values: (N, R) float64, physical units.
    """

    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`, ready for JSON.

    Attributes:
        matched: pairs of commands compared.
        only_ours: commands without a counterpart in the time that both series cover.
        only_theirs: the same of the other series.
        first_divergence: time, index, dimension and both values of the first difference beyond
            the tolerance, or None.
        dimensions: for each, the largest, mean and root-mean-square difference, and correlation.
        within: whether nothing is beyond the tolerance and nothing is without a counterpart.
    """

    matched: int
    only_ours: int
    only_theirs: int
    first_divergence: dict[str, Any] | None
    dimensions: dict[str, dict[str, float | None]]
    within: bool


def read_commands(path: Path, topic: str, layout: CommandLayout) -> CommandSeries:
    """Read the commands of a bag.

    Raises:
        BagError: if there are none, or they are of another type or shape.
    """
    times, values = [], []
    with BagReader(path) as bag:
        name = bag.require(topic, (layout.command_type,), '--command-topic, command.type')
        for item in bag.messages([name]):
            try:
                values.append(layout.decode(item.message))
            except (ValueError, IndexError) as error:
                raise BagError(f'{path}: {name} at {item.time_ns} ns: {error}') from error
            times.append(item.time_ns)
    return CommandSeries(np.array(times, np.int64), np.stack(values))


def compare(
    ours: CommandSeries,
    theirs: CommandSeries,
    names: tuple[str, ...],
    tolerance: float,
    period_ns: int,
) -> Comparison:
    """Compare commands that were sent within half a control period of each other.

    Args:
        ours: N commands.
        theirs: M commands.
        names: (R,) of the dimensions.
        tolerance: largest allowed difference, physical units.
        period_ns: of the control ticks.

    Raises:
        BagError: if the two have nothing in common.
    """
    ours_at, theirs_at = _pairs(ours.times_ns, theirs.times_ns, period_ns // 2)
    if not len(ours_at):
        raise BagError(
            'no command of one bag was sent within half a control period of one of the other: '
            'compare bags of the same recording, with the same --clock'
        )
    a, b = ours.values[ours_at], theirs.values[theirs_at]
    difference = np.abs(a - b)
    beyond = ~(difference <= tolerance)
    alone = [
        _alone(series.times_ns, matched, other.times_ns)
        for series, matched, other in ((ours, ours_at, theirs), (theirs, theirs_at, ours))
    ]
    first = None
    if beyond.any():
        row, column = np.argwhere(beyond)[0]
        first = {
            'time_ns': int(ours.times_ns[ours_at[row]]),
            'seconds': (int(ours.times_ns[ours_at[row]]) - int(ours.times_ns[0])) / 1e9,
            'index': int(ours_at[row]),
            'dimension': names[column],
            'ours': float(a[row, column]),
            'theirs': float(b[row, column]),
        }
    return Comparison(
        matched=len(ours_at),
        only_ours=alone[0],
        only_theirs=alone[1],
        first_divergence=first,
        dimensions={
            name: {
                'max': float(difference[:, k].max()),
                'mean': float(difference[:, k].mean()),
                'rms': float(np.sqrt((difference[:, k] ** 2).mean())),
                'correlation': _correlation(a[:, k], b[:, k]),
            }
            for k, name in enumerate(names)
        },
        within=first is None and not any(alone),
    )


def _pairs(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], reach_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of commands that are each other's nearest, and near enough."""
    nearest = _nearest(ours, theirs)
    mutual = _nearest(theirs, ours)[nearest] == np.arange(len(ours))
    near = np.abs(theirs[nearest] - ours) <= reach_ns
    chosen = np.flatnonzero(mutual & near)
    return chosen, nearest[chosen]


def _nearest(wanted: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `wanted`, the index of the nearest of `known`, which ascend."""
    right = np.clip(np.searchsorted(known, wanted), 0, len(known) - 1)
    left = np.maximum(right - 1, 0)
    closer = np.abs(known[left] - wanted) < np.abs(known[right] - wanted)
    return np.where(closer, left, right)


def _alone(
    times: NDArray[np.int64], matched: NDArray[np.int64], others: NDArray[np.int64]
) -> int:
    """Commands without a counterpart while the other series lasted."""
    common = (times >= others[0]) & (times <= others[-1])
    return int(common.sum()) - int(common[matched].sum())


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Pearson's; None where one of them never changes."""
    if len(a) < 2 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])
