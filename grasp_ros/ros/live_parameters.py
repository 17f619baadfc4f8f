"""Which parameters may be changed while the node is configured, and why others may not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grasp_ros.parameters.parameter import Parameter

FREE = ('use_sim_time',)
"""Declared by rclpy, not by this package."""


def refusal(changes: Iterable[tuple[str, Any]], table: Iterable[Parameter]) -> str:
    """Why a configured node cannot take these changes; empty where it can.

    Args:
        changes: name and new value of each.
        table: of the parameters.
    """
    rows = {row.name: row for row in table}
    fixed = []
    for name, value in changes:
        row = rows.get(name)
        if row is None:
            if name not in FREE:
                fixed.append(name)
            continue
        if not row.live:
            fixed.append(name)
        elif name == 'dry_run' and not value:
            return (
                'dry_run is switched off only before configure, so that the robot does not start '
                'to move by surprise; deactivate and clean up the node first'
            )
        else:
            fault = row.fault(value)
            if fault:
                return fault
    if not fixed:
        return ''
    return f'{", ".join(fixed)}: read at configure; deactivate and clean up the node first'
