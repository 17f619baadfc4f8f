"""Scenarios: parameters that are set while the robot is driven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grasp_ros.control.types import State
from grasp_ros.parameters.table import PARAMETERS
from system.faults.observer import speed
from system.faults.scenario import (
    WATCHED_S,
    Outcome,
    Scenario,
    drives_again,
    drives_on,
    stopped,
)
from system.faults.stage import PlannerTestBench, StageError

TOO_BRIGHT = 255.0
WET = {'dry_run': False}
DARKER = {'min_brightness': TOO_BRIGHT}


def _is_harmless(stage: PlannerTestBench) -> Outcome:
    stage.run()
    original = next(row.default for row in PARAMETERS if row.name in DARKER)
    fault_s = stage.now_s
    _accepted(stage, DARKER)
    reaction_s = stopped(stage, fault_s, State.BAD_IMAGE)
    _accepted(stage, dict.fromkeys(DARKER, original))
    return Outcome(reaction_s, drives_again(stage))


def _accepted(stage: PlannerTestBench, values: Mapping[str, Any]) -> None:
    (result,) = stage.client.set(values)
    if not result.successful:
        raise StageError(f'{values} was refused: {result.reason}')


def _is_a_dry_run(stage: PlannerTestBench) -> Outcome:
    stage.run(WET)
    stage.forget_configuration()
    fault_s = stage.now_s
    _accepted(stage, {'dry_run': True})
    stage.spin(WATCHED_S)
    commands = stage.observer.commands_since(fault_s)
    stops = [command for command in commands if not speed(command.message)]
    if len(stops) != 1 or commands[-1] is not stops[0]:
        raise StageError(f'{len(stops)} stops and {len(commands)} commands came, the stop not last')
    (result,) = stage.client.set({'dry_run': False})
    if result.successful:
        raise StageError('the dry run was switched off while active')
    stage.run(WET)
    return Outcome(stops[0].time_s - fault_s, True)


def _is_dangerous(stage: PlannerTestBench) -> Outcome:
    stage.run()
    asked_s = stage.now_s
    (result,) = stage.client.set({'model': 'maze'})
    reaction_s = stage.now_s - asked_s
    if result.successful or 'model' not in result.reason:
        raise StageError(f'another model was not refused by name: {result}')
    drives_on(stage, asked_s)
    return Outcome(reaction_s, drives_again(stage))


SCENARIOS: dict[str, Scenario] = {
    'harmless parameter changed while active': _is_harmless,
    'dry run switched on while active': _is_a_dry_run,
    'dangerous parameter changed while active': _is_dangerous,
}
