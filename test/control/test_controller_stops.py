"""Every stop of the controller, entered and left without a restart, and what is sent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grasp_ros.control.types import State
from grasp_ros.models.action_space import ActionKind
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from harness.controller_rig import CONFIG, MAX_SPEED, MS, ProportionalPlanner, Rig, states
from harness.toy_models import LinearModel, picture


def test_nothing_is_sent_before_the_first_command():
    rig = Rig()
    assert not list(rig.controller.halt(rig.now))
    rig.goal(1.0, 1.0)
    rig.controller.enable(False)
    assert rig.command().action is None
    rig.observe()
    assert rig.command().action is None
    rig.wait(2 * 10**9)
    assert rig.command().action is None


def test_disabled_and_enabled():
    rig = Rig().running()
    rig.controller.enable(False)
    stopped = rig.steps(3)
    assert set(states(stopped)) == {State.DISABLED}
    assert all(command.action.tolist() == [0, 0] for command in stopped)
    assert rig.report.state == State.DISABLED
    rig.controller.enable(True)
    assert states(rig.steps(3)) == [State.PLANNING, State.RUNNING, State.RUNNING]


def test_stale_by_stamp_and_back():
    rig = Rig(replace(CONFIG, max_plan_age=10.0)).running()
    seen = rig.steps(8, see=False, think=False)
    # The newest image is 0.1 s old at the first of them; image_timeout is 0.5 s.
    assert states(seen) == [State.RUNNING] * 5 + [State.STALE_IMAGE] * 3
    assert seen[-1].action.tolist() == [0, 0]
    assert '0.80 s old' in seen[-1].reason
    assert rig.controller.image_age(rig.now) == pytest.approx(0.9)
    assert states(rig.steps(3))[-1] == State.RUNNING


def test_stamps_of_another_clock_are_not_planned_from():
    rig = Rig()
    rig.now = 1_700_000_000 * 1000 * MS
    rig.goal(1.0, 2.0)
    for seconds in (1, 3600):  # of a clock that counts since boot
        assert rig.controller.observe(picture(0, 0), seconds * 1000 * MS, now_ns=rig.now) is None
        assert rig.plan().state == State.STALE_IMAGE
        assert 'check the clocks' in rig.report.reason
        assert rig.command().action is None
    assert not rig.planner.problems
    seen = rig.steps(3)
    assert states(seen)[-1] == State.RUNNING


def test_stale_by_arrival_and_back():
    """The stamps are well, but nothing arrives on the steady clock."""
    rig = Rig().running()
    rig.observe(arrival_ns=5000 * MS)
    rig.plan()
    assert rig.command(steady_ns=5500 * MS).state == State.RUNNING
    stale = rig.command(steady_ns=5501 * MS)
    assert stale.state == State.STALE_IMAGE
    assert stale.action.tolist() == [0, 0]
    rig.wait()
    rig.observe(arrival_ns=5600 * MS)
    rig.plan()
    assert rig.command(steady_ns=5610 * MS).state == State.RUNNING


def test_a_plan_expires_by_age_and_a_new_one_resumes():
    rig = Rig(replace(CONFIG, horizon=30)).running()
    seen = rig.steps(13, think=False)
    # Made from an image 0.1 s before the first of them; max_plan_age is 1 s.
    assert states(seen) == [State.RUNNING] * 10 + [State.PLAN_EXPIRED] * 3
    assert 'max_plan_age' in seen[-1].reason
    assert seen[-1].action.tolist() == [0, 0]
    assert states(rig.steps(3))[-1] == State.RUNNING


def test_a_plan_expires_when_all_its_actions_are_executed():
    rig = Rig(replace(CONFIG, horizon=4)).running()
    seen = rig.steps(6, think=False)
    assert states(seen) == [State.RUNNING] * 4 + [State.PLAN_EXPIRED] * 2
    assert 'executed' in seen[-1].reason


def test_a_planner_error_stops_until_a_plan_succeeds():
    rig = Rig().running()
    rig.planner.error = RuntimeError('out of memory')
    seen = rig.steps(3)
    assert states(seen) == [State.RUNNING] + [State.PLANNER_ERROR] * 2
    assert seen[-1].action.tolist() == [0, 0]
    assert 'out of memory' in seen[-1].reason
    assert (rig.report.state, rig.report.accepted) == (State.PLANNER_ERROR, False)
    rig.planner.error = None
    assert states(rig.steps(3)) == [State.PLANNER_ERROR, State.RUNNING, State.RUNNING]


def test_a_model_that_raises_is_a_planner_error():
    rig = Rig().running()
    rig.model.failing = True
    assert states(rig.steps(2))[-1] == State.PLANNER_ERROR
    rig.model.failing = False
    assert states(rig.steps(2))[-1] == State.RUNNING


@pytest.mark.parametrize('grasp', [False, True])
def test_nan_from_the_model_is_a_bad_plan(grasp):
    model = LinearModel()
    config = GraspConfig(iterations=2, candidates=2, greedy_choices=4, proposals=2)
    rig = Rig(model=model, planner=GraspPlanner(model, config) if grasp else None).running()
    model.broken = True
    seen = rig.steps(3)
    assert states(seen) == [State.RUNNING] + [State.BAD_PLAN] * 2
    assert 'NaN' in seen[-1].reason
    assert seen[-1].action.tolist() == [0, 0]
    model.broken = False
    assert states(rig.steps(3))[1:] == [State.RUNNING] * 2


def test_a_goal_that_is_nan_in_the_latent_is_a_bad_plan():
    rig = Rig().running()
    rig.goal(np.nan, 0.0)
    assert states(rig.steps(3))[-1] == State.BAD_PLAN
    rig.goal(1.0, 0.0)
    assert states(rig.steps(3))[-1] == State.RUNNING


def test_a_defect_above_its_bound_is_a_bad_plan():
    rig = Rig(replace(CONFIG, max_defect=0.5)).running()
    rig.planner.defect = 0.6
    seen = rig.steps(3)
    assert states(seen)[-1] == State.BAD_PLAN
    assert '0.6' in seen[-1].reason
    assert '0.5' in seen[-1].reason
    rig.planner.defect = 0.4
    assert states(rig.steps(3))[-1] == State.RUNNING


def test_an_undecodable_image_stops_with_its_reason_and_passes():
    rig = Rig()
    rig.goal(3.0, 0.0)

    def corrupt():
        raise ValueError('corrupt JPEG')

    rig.controller.observe(corrupt, rig.now)
    rig.plan()
    assert rig.report.state == State.STALE_IMAGE
    first = rig.command()
    assert (first.state, first.action) == (State.STALE_IMAGE, None)
    assert 'corrupt JPEG' in first.reason
    rig.wait()
    rig.steps(3)
    assert rig.track[-1].state == State.RUNNING
    seen = []
    for _ in range(8):
        rig.controller.observe(corrupt, rig.now)
        seen.append(rig.command())
        rig.plan()
        rig.wait()
    assert states(seen)[:5] == [State.RUNNING] * 5, 'one corrupt image is not an outage'
    assert set(states(seen)[5:]) == {State.STALE_IMAGE}
    assert 'corrupt JPEG' in seen[-1].reason
    assert seen[-1].action.tolist() == [0, 0]
    assert states(rig.steps(3))[-1] == State.RUNNING


# What is sent.


@pytest.mark.parametrize('kind', list(ActionKind))
def test_the_stop_is_by_kind(kind):
    rig = Rig(kind=kind).running()
    last = rig.track[-1].action
    assert last.any()
    rig.controller.enable(False)
    stopped = rig.step()
    expected = last if kind is ActionKind.POSITION else np.zeros(2)
    assert stopped.action.tolist() == expected.tolist()
    (halted,) = rig.controller.halt(rig.now)
    assert halted.action.tolist() == expected.tolist()


def test_a_stop_decays_in_its_time():
    rig = Rig(replace(CONFIG, stop_decay=0.4)).running()
    last = rig.track[-1].action
    rig.controller.enable(False)
    shares = [(command.action / last).tolist() for command in rig.steps(6)]
    assert shares == [pytest.approx([share] * 2) for share in (0.75, 0.5, 0.25, 0, 0, 0)]


@pytest.mark.parametrize('stop_decay', [0.0, 0.3])
def test_the_rate_limit_holds_always(stop_decay):
    rig = Rig(replace(CONFIG, stop_decay=stop_decay), rate=4.0)
    rig.goal(5.0, -5.0)
    rig.steps(12)
    rig.goal(-5.0, 5.0)
    rig.steps(12)
    rig.controller.enable(False)
    rig.steps(20)
    sent = [np.zeros(2)] + [command.action for command in rig.track if command.action is not None]
    change = np.abs(np.diff(sent, axis=0)).max(axis=0)
    assert (change <= 0.4 + 1e-9).all()
    assert (change > 0.39).all()
    assert any(command.clamped for command in rig.track)
    assert rig.track[-1].action.tolist() == [0, 0]


def test_commands_stay_in_the_box_and_say_when_they_were_clamped():
    model = LinearModel()
    rig = Rig(model=model, planner=ProportionalPlanner(model, gain=5.0))

    original = rig.planner.plan

    def careless(problem, init=None, **kwargs):
        limit = 100 * torch.ones(2).double()
        return original(replace(problem, action_low=-limit, action_high=limit), init, **kwargs)

    rig.planner.plan = careless
    rig.running(10.0, -10.0)
    assert rig.track[-1].action.tolist() == [MAX_SPEED, -MAX_SPEED]
    assert rig.track[-1].clamped


def test_a_dry_run_records_nothing_and_takes_the_robot_to_stand():
    rig = Rig(replace(CONFIG, dry_run=True))
    rig.goal(3.0, -2.0)
    seen = rig.steps(5)
    assert states(seen)[-1] == State.RUNNING
    assert seen[-1].action.any()
    assert not list(rig.controller.halt(rig.now))
    expected = 0.2 * np.array([3.0, -2.0]) / 0.1
    assert rig.report.timed.commands[0] == pytest.approx(np.clip(expected, -5, 5))
    rig.controller.enable(False)
    assert rig.command().action is None
