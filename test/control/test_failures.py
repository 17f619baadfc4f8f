"""Failures of planner and device, and holds from outside: the controller stops and says why."""

from dataclasses import replace

import pytest
import torch

from grasp_ros.control.failures import MEMORY_TRIES
from grasp_ros.control.types import State
from harness.controller_rig import CONFIG, PERIOD, Rig


@pytest.fixture
def rig():
    """Return a robot on its way."""
    rig = Rig(replace(CONFIG, guard=CONFIG.guard))
    rig.goal(50.0, 0.0)
    rig.steps(4)
    assert rig.command().state is State.RUNNING
    return rig


def fail(rig, error, times=1):
    rig.planner.error = error
    for _ in range(times):
        rig.step()
    rig.planner.error = None
    command = rig.command()
    assert command.state is State.PLANNER_ERROR and not command.action.any()
    return command.reason


def recovers(rig):
    rig.steps(4)
    return rig.command().state is State.RUNNING


@pytest.mark.parametrize(
    'error', [torch.OutOfMemoryError('no room'), MemoryError(), RuntimeError('CUDA out of memory')]
)
def test_memory_that_runs_out_is_tried_again_some_times(rig, error):
    fail(rig, error, MEMORY_TRIES - 1)
    assert recovers(rig)
    assert 'out of memory 5 times in a row' in fail(rig, error, MEMORY_TRIES)
    solved = len(rig.planner.problems)
    rig.steps(4)
    assert len(rig.planner.problems) == solved
    assert rig.command().state is State.PLANNER_ERROR
    rig.controller.reset()
    rig.goal(50.0, 0.0)
    assert recovers(rig)


@pytest.mark.parametrize(
    'error',
    [
        torch.AcceleratorError('CUDA error: unspecified launch failure'),
        RuntimeError('CUDA error: an illegal memory access was encountered'),
        RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'),
    ],
)
def test_a_lost_device_is_not_tried_again(rig, error):
    reason = fail(rig, error)
    assert 'the device failed, no more tries' in reason and 'configure the node' in reason
    rig.steps(4)
    assert rig.command().state is State.PLANNER_ERROR
    rig.goal(0.0, 50.0)
    rig.steps(4)
    assert rig.command().state is State.PLANNER_ERROR


def test_other_errors_are_tried_again_for_ever(rig):
    assert 'ValueError: odd' in fail(rig, ValueError('odd'), 2 * MEMORY_TRIES)
    assert recovers(rig)


def test_the_device_may_fail_while_encoding(rig, monkeypatch):
    def lost(observation):
        raise torch.OutOfMemoryError('no room')

    monkeypatch.setattr(rig.model, 'encode', lost)
    rig.step()
    command = rig.command()
    assert command.state is State.PLANNER_ERROR and 'no room' in command.reason


def test_a_hold_stops_at_once_and_planning_starts_anew_after_the_last(rig):
    rig.controller.hold('one', State.CONFLICT, 'somebody else commands')
    rig.controller.hold('two', State.PLANNER_ERROR, 'hangs')
    command = rig.command()
    assert command.state is State.CONFLICT and command.reason == 'somebody else commands'
    assert not command.action.any()
    assert rig.plan().state is State.CONFLICT
    rig.controller.hold('one', None)
    assert rig.command().state is State.PLANNER_ERROR
    rig.controller.hold('two', None)
    assert rig.command().state is State.PLANNING
    assert recovers(rig)


def test_a_plan_that_ends_after_a_hold_is_dropped(rig):
    def hold_and_release():
        rig.controller.hold('hang', State.PLANNER_ERROR, 'hangs')
        rig.controller.hold('hang', None)

    rig.planner.meanwhile = hold_and_release
    assert not rig.plan().accepted
    rig.planner.meanwhile = None
    assert rig.command().state is State.PLANNING
    assert recovers(rig)


def test_another_policy_counts_from_the_next_command_and_plan(rig):
    rig.controller.reconfigure(replace(CONFIG, image_timeout=0.15, max_defect=0.5))
    rig.wait(2 * PERIOD)
    assert 'image_timeout is 0.15 s' in rig.command().reason
    rig.planner.defect = 1.0
    rig.step()
    assert rig.command().state is State.BAD_PLAN
