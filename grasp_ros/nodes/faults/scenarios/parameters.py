"""Scenarios: parameters that are set while the robot is driven."""

from __future__ import annotations

from grasp_ros.nodes.faults.scenario import Outcome, Scenario, drives_again, drives_on
from grasp_ros.nodes.faults.stage import Stage, StageError


def _is_dangerous(stage: Stage) -> Outcome:
    stage.run()
    asked_s = stage.now_s
    (result,) = stage.client.set({'model': 'maze'})
    reaction_s = stage.now_s - asked_s
    if result.successful or 'model' not in result.reason:
        raise StageError(f'another model was not refused by name: {result}')
    drives_on(stage, asked_s)
    return Outcome(reaction_s, drives_again(stage))


SCENARIOS: dict[str, Scenario] = {
    'dangerous parameter changed while active': _is_dangerous,
}
