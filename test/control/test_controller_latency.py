"""Latency compensation: commands belong to their times whatever camera and planning take."""

from dataclasses import replace

import numpy as np
import pytest

from grasp_ros.control.types import State
from harness.controller_rig import CONFIG, MAX_SPEED, MS, PERIOD, HistoryModel, Rig
from harness.toy_models import picture


def drive(rig, ticks, camera_ns, latency_ns):
    """Run ticks and a camera with a period and a latency, planning on each picture.

    Returns:
        States of the commands, accepted plans, and positions at the ticks by time.
    """
    start, end = rig.now, rig.now + ticks * PERIOD
    shots = range(start, end, camera_ns)
    events = [(time, 2, 'tick') for time in range(start, end, PERIOD)]
    events += [(time, 0, 'shot') for time in shots]
    events += [(time + latency_ns, 1 if latency_ns else 3, 'arrival') for time in shots]
    seen, plans, positions, pictures = [], [], {}, []
    for time, _, event in sorted(events):
        rig.wait(time - rig.now)
        if event == 'tick':
            positions[time] = rig.position.copy()
            seen.append(rig.command().state)
        elif event == 'shot':
            pictures.append((time, picture(*rig.position)))
        else:
            stamp, image = pictures.pop(0)
            assert rig.controller.observe(image, stamp, now_ns=time) is None
            assert rig.plan().accepted
            plans.append(rig.report.timed)
    return seen, plans, positions


@pytest.mark.parametrize('skip', [1, 2])
@pytest.mark.parametrize('delay', [0.0, 0.1, 0.3])
@pytest.mark.parametrize('latency_ms', [0, 1, 40, 140])
def test_a_delayed_plan_begins_as_an_undelayed_one_would(skip, delay, latency_ms):
    """The camera is late by `latency_ms`, planning takes `delay`: the true plant tells."""
    config = replace(CONFIG, planning_delay=delay, model_dt=0.1 * skip, horizon=12)
    rig = Rig(config, skip=skip)
    goal = np.array([2.0, -1.0])
    rig.goal(*goal)
    _, plans, positions = drive(rig, 60, PERIOD, latency_ms * MS)
    checked = 0
    for timed in plans:
        if timed.start_ns in positions:
            action = rig.planner.first_action(positions[timed.start_ns], goal, 2 * skip)
            expected = np.clip(rig.space.denormalise(action)[0], -MAX_SPEED, MAX_SPEED)
            assert timed.commands[0] == pytest.approx(expected, abs=1e-9)
            checked += 1
    assert checked > 40
    assert np.linalg.norm(rig.position - goal) < 0.1


def planned_for(rig, delay, *, times):
    """Plan so often, taking `delay` each time; how long after its start each plan begins."""
    begins = []
    for _ in range(times):
        rig.observe()
        rig.command()
        began = rig.now
        rig.plan(clock=lambda: began + round(delay * 1e9))  # noqa: B023 - called at once
        begins.append(rig.report.timed.start_ns - began)
        rig.wait(round(delay * 1e9))
    return begins


def test_the_measured_delay_replaces_the_configured_one():
    rig = Rig(replace(CONFIG, planning_delay=0.1, estimate_delay=True))
    rig.goal(3.0, -2.0)
    begins = planned_for(rig, 0.2, times=5)
    assert begins == [PERIOD, PERIOD, 2 * PERIOD, 2 * PERIOD, 2 * PERIOD], 'one warms up'
    assert rig.report.planning_delay_s == 0.2
    rig.controller.reset()
    assert rig.plan().planning_delay_s == 0.1


def test_a_constant_delay_stays():
    rig = Rig()
    rig.goal(3.0, -2.0)
    assert set(planned_for(rig, 0.3, times=5)) == {PERIOD}
    assert rig.report.planning_delay_s == 0.1


def test_another_policy_counts_from_then_on():
    rig = Rig()
    rig.goal(3.0, -2.0)
    planned_for(rig, 0.1, times=3)
    rig.controller.reconfigure(replace(CONFIG, planning_delay=0.3, stop_decay=0.4))
    assert set(planned_for(rig, 0.1, times=3)) == {3 * PERIOD}
    last = rig.velocity
    rig.controller.enable(False)
    assert rig.step().action == pytest.approx(0.75 * last)


def test_only_accepted_plans_measure_the_delay():
    rig = Rig(replace(CONFIG, estimate_delay=True))
    rig.goal(3.0, -2.0)
    planned_for(rig, 0.2, times=3)
    rig.planner.error = RuntimeError('on demand')
    rig.plan(clock=lambda: rig.now + 5 * PERIOD)
    assert rig.report.planning_delay_s == 0.2


@pytest.mark.parametrize('rate_hz', [5, 30])
@pytest.mark.parametrize('delay', [0.0, 0.1, 0.35])
@pytest.mark.parametrize('skip', [1, 2, 5])
def test_a_robot_arrives_whatever_the_rate_of_its_camera(rate_hz, delay, skip):
    """New plans, due later, must never displace the one that is to act meanwhile."""
    config = replace(CONFIG, planning_delay=delay, model_dt=0.1 * skip, horizon=12)
    rig = Rig(config, skip=skip)
    rig.goal(2.0, -1.0)
    seen, _, _ = drive(rig, 80, round(1e9 / rate_hz), 13 * MS)
    first = seen.index(State.RUNNING)
    assert first < 12
    assert set(seen[first:]) == {State.RUNNING}
    assert np.linalg.norm(rig.position - [2.0, -1.0]) < 0.2


def test_a_model_with_history_gets_frames_and_the_actions_between_them():
    model = HistoryModel()
    rig = Rig(model=model)
    rig.goal(2.0, -1.0)
    positions, actions = [], []
    for _ in range(8):
        positions.append(rig.position.copy())
        command = rig.step()
        actions.append(np.zeros(2) if command.action is None else 0.1 * command.action)
    # The last plan was made from the 8th picture and acts one period later.
    problem = rig.planner.problems[-1]
    expected = [*positions[-2:], rig.position]
    assert problem.context[0].numpy() == pytest.approx(np.stack(expected))
    assert problem.past_actions[0].numpy() == pytest.approx(np.stack(actions[-2:]))


def test_a_short_history_is_padded_with_the_first_frame_and_the_stop():
    rig = Rig(model=HistoryModel())
    rig.position = np.array([0.5, 0.25])
    rig.goal(2.0, -1.0)
    rig.step()
    problem = rig.planner.problems[-1]
    assert problem.context[0].tolist() == [[0.5, 0.25]] * 3
    assert problem.past_actions[0].tolist() == [[0, 0]] * 2


def test_frame_skip_two_holds_two_commands_in_a_model_step():
    rig = Rig(replace(CONFIG, model_dt=0.2), skip=2)
    assert rig.space.size == 2
    rig.goal(1.0, -0.5)
    rig.steps(4)
    assert rig.report.plan.actions.shape == (1, 8, 4)
    assert rig.report.timed.commands.shape == (16, 2)
    assert rig.report.timed.period_ns == PERIOD
    rig.steps(60)
    assert np.linalg.norm(rig.position - [1.0, -0.5]) < 0.01


def test_between_replans_whole_model_steps_are_executed():
    rig = Rig(replace(CONFIG, model_dt=0.2, replan_period=0.2), skip=2)
    rig.goal(1.0, -0.5)
    reports, commands = [], []
    for _ in range(20):
        commands.append(rig.step())
        reports.append(rig.report)
    plans = [report.timed for report in reports if report.timed is not None]
    assert len(rig.planner.problems) == len(plans) == 10
    assert all(report.state is State.RUNNING for report in reports)
    executed = [command.action for command in commands if command.state is State.RUNNING]
    planned = np.concatenate([plan.commands[:2] for plan in plans])
    np.testing.assert_allclose(executed, planned[: len(executed)])
    # What its plan begins with is shifted by the step that was executed.
    assert rig.planner.inits[-1].actions[0, 0] == pytest.approx(
        rig.space.normalise(plans[-2].commands[2:4]).reshape(-1)
    )


def test_a_new_goal_is_planned_for_at_once():
    rig = Rig(replace(CONFIG, replan_period=10.0))
    rig.goal(1.0, -0.5)
    rig.steps(3)
    assert len(rig.planner.problems) == 1
    rig.goal(-1.0, 0.5)
    rig.step()
    assert len(rig.planner.problems) == 2
