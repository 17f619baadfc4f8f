"""Parameters of the planner node: declared, read at configure, some of them changed after that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter

from grasp_ros.parameters.parameter import ParameterError, ParameterGroup, changed, rows
from grasp_ros.parameters.table import OPTIONS, TABLES, NodeParameters, node_parameters
from grasp_ros.ros.parameter_declaration import declare, given_values, read

FREE = ('use_sim_time',)
"""Declared by rclpy, not by this package; may be set at any time."""


class LiveParameters:
    """Parameters of the planner node, with the options of the planner that is selected.

    Attributes:
        current: of the present configuration; replaced as a whole when some change.
        frozen: whether only those change that may while the node is configured.
    """

    def __init__(
        self, node: LifecycleNode, on_change: Callable[[NodeParameters, NodeParameters], None]
    ) -> None:
        """Declare them.

        Args:
            node: that has them.
            on_change: called with the parameters before and after a change while frozen.

        Raises:
            ParameterError: if one that the user gave is unknown, of the wrong type or out of range.
        """
        self._node, self._on_change = node, on_change
        self.current = node_parameters(given_values(node))
        self._planner = self.current.planner.name
        self.frozen = False
        declare(node, rows(TABLES[self._planner]))
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._take)

    def read(self) -> NodeParameters:
        """Read all anew, to configure the node by.

        Raises:
            ParameterError: naming the first that cannot be used.
        """
        self.current = node_parameters(read(self._node, rows(TABLES[self._planner])))
        return self.current

    def _judge(self, changes: list[Parameter]) -> SetParametersResult:
        if not self.frozen:
            return SetParametersResult(successful=True)
        reason = refusal([(change.name, change.value) for change in changes], self.current)
        return SetParametersResult(successful=not reason, reason=reason)

    def _take(self, changes: list[Parameter]) -> None:
        values = {change.name: change.value for change in changes if change.name not in FREE}
        if not self.frozen:
            self._select(values.get('planner.name', self._planner))
            return
        before, self.current = self.current, changed(self.current, values)
        self._on_change(before, self.current)

    def _select(self, planner: str) -> None:
        """Declare the options of a planner in place of those before."""
        if planner == self._planner or planner not in OPTIONS:
            return
        before, self._planner = self._planner, planner
        for row in rows(OPTIONS[before], f'{before}.'):
            self._node.undeclare_parameter(row.name)
        declare(self._node, rows(OPTIONS[planner], f'{planner}.'))


def refusal(changes: Iterable[tuple[str, Any]], params: ParameterGroup) -> str:
    """Why a configured node cannot take these changes; empty where it can.

    Args:
        changes: name and new value of each.
        params: at present.
    """
    table = {row.name: row for row in rows(type(params))}
    fixed = []
    for name, value in changes:
        if name in FREE:
            continue
        if name not in table or not table[name].live:
            fixed.append(name)
        elif name == 'dry_run' and not value:
            return (
                'dry_run is switched off only before configure, so that the robot does not start '
                'to move by surprise; deactivate and clean up the node first'
            )
        else:
            try:
                changed(params, {name: value})
            except ParameterError as error:
                return str(error)
    if not fixed:
        return ''
    return f'{", ".join(fixed)}: read at configure; deactivate and clean up the node first'
