"""The node `planner` with a GRASP that fails on order; for the fault harness only.

No parameter of the real node leads here: what fails is registered by this program alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from grasp_ros.models.protocol import WorldModel
from grasp_ros.node import planner as node
from grasp_ros.planning import registry
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.problem import Plan, PlanProblem
from system.faults.orders import Orders

RAISE, NAN, OVERRUN, HANG, OUT_OF_MEMORY, DEVICE_LOST = (
    'raise', 'nan', 'overrun', 'hang', 'out of memory', 'device lost',
)  # fmt: skip
OVERRUN_S = 1.5
SHORTAGES = 3
"""Solves that run out of memory before one succeeds."""
NAP_S = 0.02


class FailingGrasp(GraspPlanner):
    """GRASP, except while it is ordered to fail."""

    def __init__(self, model: WorldModel, config: GraspConfig, orders: Orders) -> None:
        super().__init__(model, config)
        self._orders = orders
        self._order, self._repeated = '', 0

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """As `GraspPlanner.plan`, or what was ordered."""
        order = self._orders.present()
        self._repeated = self._repeated + 1 if order == self._order else 1
        self._order = order
        if order and order != NAN:
            self._orders.obey()
            self._fail(order)
        plan = super().plan(problem, init, generator=generator, deadline_s=deadline_s)
        if order == NAN:
            self._orders.obey()
            return replace(plan, actions=plan.actions * float('nan'))
        return plan

    def _fail(self, order: str) -> None:
        if order == RAISE:
            raise RuntimeError('raised on order')
        if order == OUT_OF_MEMORY and self._repeated <= SHORTAGES:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory (simulated)')
        if order == DEVICE_LOST:
            raise RuntimeError('CUDA error: unspecified launch failure (simulated)')
        if order == OVERRUN:
            time.sleep(OVERRUN_S)
        while order == HANG and self._orders.present() == HANG:
            time.sleep(NAP_S)


def main(arguments: list[str] | None = None) -> int:
    """Run the node; the first two arguments are `--orders FOLDER`."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog='faulty_planner', description=__doc__)
    parser.add_argument('--orders', type=Path, required=True, help='folder shared with the harness')
    options, for_ros = parser.parse_known_args(given)
    orders = Orders(options.orders)
    entries = cast(dict[str, registry.Entry], registry.PLANNERS)
    entries['grasp'] = registry.Entry(
        GraspConfig, lambda model, config: FailingGrasp(model, config, orders)
    )
    return node.main(for_ros)


if __name__ == '__main__':
    sys.exit(main())
