"""The node `planner` with a GRASP that fails when asked to; for the fault harness only.

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
from system.faults.injector import FaultInjector

RAISE, NAN, OVERRUN, HANG, OUT_OF_MEMORY, DEVICE_LOST = (
    'raise', 'nan', 'overrun', 'hang', 'out of memory', 'device lost',
)  # fmt: skip
OVERRUN_S = 1.5
SHORTAGES = 3
"""Solves that run out of memory before one succeeds."""
NAP_S = 0.02


class FailingGrasp(GraspPlanner):
    """GRASP, except while it is asked to fail."""

    def __init__(self, model: WorldModel, config: GraspConfig, injector: FaultInjector) -> None:
        super().__init__(model, config)
        self._injector = injector
        self._fault, self._repeated = '', 0

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """As `GraspPlanner.plan`, or the fault that is asked for."""
        fault = self._injector.present()
        self._repeated = self._repeated + 1 if fault == self._fault else 1
        self._fault = fault
        if fault and fault != NAN:
            self._injector.happens()
            self._fail(fault)
        plan = super().plan(problem, init, generator=generator, deadline_s=deadline_s)
        if fault == NAN:
            self._injector.happens()
            return replace(plan, actions=plan.actions * float('nan'))
        return plan

    def _fail(self, fault: str) -> None:
        if fault == RAISE:
            raise RuntimeError('raised as asked')
        if fault == OUT_OF_MEMORY and self._repeated <= SHORTAGES:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory (simulated)')
        if fault == DEVICE_LOST:
            raise RuntimeError('CUDA error: unspecified launch failure (simulated)')
        if fault == OVERRUN:
            time.sleep(OVERRUN_S)
        while fault == HANG and self._injector.present() == HANG:
            time.sleep(NAP_S)


def main(arguments: list[str] | None = None) -> int:
    """Run the node; the first two arguments are `--faults FOLDER`."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog='faulty_planner', description=__doc__)
    parser.add_argument('--faults', type=Path, required=True, help='folder shared with the harness')
    options, for_ros = parser.parse_known_args(given)
    injector = FaultInjector(options.faults)
    entries = cast(dict[str, registry.Entry], registry.PLANNERS)
    entries['grasp'] = registry.Entry(
        GraspConfig, lambda model, config: FailingGrasp(model, config, injector)
    )
    return node.main(for_ros)


if __name__ == '__main__':
    sys.exit(main())
