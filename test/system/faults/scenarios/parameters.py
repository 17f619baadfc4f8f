"""Scenarios: parameters that are set while the robot is driven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grasp_ros.control.types import State
from grasp_ros.parameters.table import PARAMETERS
from grasp_ros.tools.demo.bench import BenchError, speed
from system.faults.bench import PlannerTestBench
from system.faults.scenario import (
    WATCHED_S,
    Outcome,
    Scenario,
    drives_again,
    drives_on,
    stopped,
)

TOO_BRIGHT = 255.0
WET = {'dry_run': False}
DARKER = {'min_brightness': TOO_BRIGHT}


def _is_harmless(bench: PlannerTestBench) -> Outcome:
    bench.run()
    original = next(row.default for row in PARAMETERS if row.name in DARKER)
    fault_s = bench.now_s
    _accepted(bench, DARKER)
    reaction_s = stopped(bench, fault_s, State.BAD_IMAGE)
    _accepted(bench, dict.fromkeys(DARKER, original))
    return Outcome(reaction_s, drives_again(bench))


def _accepted(bench: PlannerTestBench, values: Mapping[str, Any]) -> None:
    (result,) = bench.set(values)
    if not result.successful:
        raise BenchError(f'{values} was refused: {result.reason}')


def _is_a_dry_run(bench: PlannerTestBench) -> Outcome:
    bench.run(WET)
    bench.forget_configuration()
    fault_s = bench.now_s
    _accepted(bench, {'dry_run': True})
    bench.spin_for(WATCHED_S)
    commands = bench.commands_since(fault_s)
    stops = [command for command in commands if not speed(command.message)]
    if len(stops) != 1 or commands[-1] is not stops[0]:
        raise BenchError(f'{len(stops)} stops and {len(commands)} commands came, the stop not last')
    (result,) = bench.set({'dry_run': False})
    if result.successful:
        raise BenchError('the dry run was switched off while active')
    bench.run(WET)
    return Outcome(stops[0].time_s - fault_s, True)


def _is_dangerous(bench: PlannerTestBench) -> Outcome:
    bench.run()
    asked_s = bench.now_s
    (result,) = bench.set({'model': 'maze'})
    reaction_s = bench.now_s - asked_s
    if result.successful or 'model' not in result.reason:
        raise BenchError(f'another model was not refused by name: {result}')
    drives_on(bench, asked_s)
    return Outcome(reaction_s, drives_again(bench))


SCENARIOS: dict[str, Scenario] = {
    'harmless parameter changed while active': _is_harmless,
    'dry run switched on while active': _is_a_dry_run,
    'dangerous parameter changed while active': _is_dangerous,
}
