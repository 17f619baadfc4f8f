"""The controller: from nothing to the goal, what changes or resets it, and reproducibility."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grasp_ros.control.types import State
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from harness.controller_rig import CONFIG, MAX_SPEED, MS, PERIOD, HistoryModel, Rig, states
from harness.toy_models import LinearModel, picture

# The way from nothing to the goal.


def test_from_nothing_to_the_goal():
    config = replace(CONFIG, reached_distance=1e-4, released_distance=4e-4)
    rig = Rig(config)
    assert rig.command().state == State.WAITING_IMAGE
    assert rig.plan().state == State.WAITING_IMAGE
    rig.observe()
    waiting = rig.command()
    assert (waiting.state, waiting.action) == (State.WAITING_GOAL, None)
    assert 'goal' in waiting.reason
    assert rig.plan().state == State.WAITING_GOAL
    assert rig.report.encoded is not None
    assert rig.goal(1.0, -0.5)
    planning = rig.command()
    assert (planning.state, planning.action) == (State.PLANNING, None)
    seen = states(rig.steps(60))
    assert seen[0] == State.PLANNING
    arrived = seen.index(State.REACHED)
    assert set(seen[1:arrived]) == {State.RUNNING}
    assert set(seen[arrived:]) == {State.REACHED}
    assert np.linalg.norm(rig.position - [1.0, -0.5]) < 0.03
    assert rig.track[-1].action.tolist() == [0, 0]
    assert rig.report.state == State.REACHED


def test_a_robot_pushed_away_from_its_goal_goes_back():
    rig = Rig(replace(CONFIG, reached_distance=1e-4, released_distance=4e-4))
    rig.goal(1.0, 0.0)
    rig.steps(60)
    rig.position += 0.012
    assert set(states(rig.steps(5))) == {State.REACHED}, 'within the hysteresis'
    rig.position += 0.5
    seen = states(rig.steps(60))
    assert State.RUNNING in seen
    assert seen[-1] == State.REACHED


def test_a_running_command_names_its_image():
    rig = Rig().running()
    before = rig.now - PERIOD
    command = rig.step()
    assert command.observation_stamp_ns == before
    assert command.reason == ''
    assert not command.clamped


def test_the_plan_of_now_acts_one_delay_later():
    rig = Rig()
    rig.goal(3.0, 0.0)
    rig.observe()
    rig.plan()
    assert rig.report.timed.start_ns == rig.now + PERIOD
    early = rig.command()
    assert early.state == State.PLANNING
    assert 'due' in early.reason
    rig.wait()
    assert rig.command().state == State.RUNNING


# Images and goals that are refused or change things.


def test_stamps_ahead_of_now_are_refused():
    rig = Rig()
    refused = rig.controller.observe(picture(0, 0), rig.now + 101 * MS, now_ns=rig.now)
    assert 'ahead' in refused
    assert '0.101' in refused
    assert rig.command().state == State.WAITING_IMAGE
    assert rig.controller.observe(picture(0, 0), rig.now + 50 * MS, now_ns=rig.now) is None


def test_an_image_older_than_one_before_is_refused():
    rig = Rig().running()
    late = rig.controller.observe(picture(9, 9), rig.now - 3 * PERIOD)
    assert 'older' in late
    assert rig.step().state == State.RUNNING


@pytest.mark.parametrize('seen_first', [True, False])
def test_time_jumping_back_resets(seen_first):
    """As when a bag starts again: plans of another time are dropped, then all goes on."""
    rig = Rig().running()
    rig.now -= 50 * PERIOD
    if not seen_first:
        command = rig.command()
        assert command.state == State.WAITING_IMAGE
        assert command.action.tolist() == [0, 0]
    seen = rig.steps(4)
    assert states(seen)[0] == State.PLANNING
    assert states(seen)[-2:] == [State.RUNNING] * 2
    assert np.isfinite(seen[-1].action).all()


@pytest.mark.parametrize('back_ms', [1, 30, 150, 400])
def test_small_steps_back_in_time_do_no_harm(back_ms):
    for stop in (False, True):
        rig = Rig().running()
        if stop:
            rig.controller.enable(False)
            rig.step()
        rig.now -= back_ms * MS
        command = rig.command()
        assert np.isfinite(command.action).all()
        assert (np.abs(command.action) <= MAX_SPEED).all()
        expected = (State.DISABLED,) if stop else (State.RUNNING, State.PLANNING)
        assert command.state in expected


def test_two_commands_at_the_same_time():
    rig = Rig().running()
    first, second = rig.command(), rig.command()
    assert np.isfinite(second.action).all()
    assert first.action.tolist() == second.action.tolist()


def test_a_new_goal_clears_the_plan_and_an_unchanged_one_is_ignored():
    rig = Rig().running(3.0, 0.0)
    assert not rig.goal(3.0, 0.0)
    assert rig.step().state == State.RUNNING
    assert rig.goal(-3.0, 0.0)
    stopped = rig.step()
    assert stopped.state == State.PLANNING
    assert stopped.action.tolist() == [0, 0]
    assert rig.planner.inits[-1] is None, 'no warm start from the old goal'
    back = rig.step()
    assert back.state == State.RUNNING
    assert back.action[0] < 0


@pytest.mark.parametrize('change', ['goal', 'disable', 'reset', 'time'])
def test_a_plan_made_for_what_was_is_dropped(change):
    rig = Rig().running(3.0, 0.0)
    changes = {
        'goal': lambda: rig.goal(-3.0, 0.0),
        'disable': lambda: rig.controller.enable(False),
        'reset': rig.controller.reset,
        'time': lambda: rig.controller.command(rig.now - 10**10),
    }
    rig.planner.meanwhile = changes[change]
    rig.observe()
    dropped = rig.controller.plans_dropped
    report = rig.plan()
    rig.planner.meanwhile = None
    assert report.plan is not None
    assert not report.accepted
    assert rig.controller.plans_dropped == dropped + 1
    rig.wait()
    command = rig.command()
    assert command.state != State.RUNNING
    assert command.action is None or command.action.tolist() == [0, 0]


def test_a_goal_reached_that_was_replaced_meanwhile_is_not_reached():
    class SlowGoal(LinearModel):
        meanwhile = None

        def encode(self, observation):
            if self.meanwhile is not None:
                change, self.meanwhile = self.meanwhile, None
                change()
            return super().encode(observation)

    rig = Rig(replace(CONFIG, reached_distance=0.01, released_distance=0.02), model=SlowGoal())
    rig.goal(0.0, 0.0)
    rig.observe()
    rig.model.meanwhile = lambda: rig.goal(2.0, 0.0)
    report = rig.plan()
    assert report.state == State.REACHED
    assert not report.accepted
    assert rig.command().state == State.PLANNING


def test_reset_forgets_everything():
    rig = Rig().running()
    rig.controller.reset()
    command = rig.command()
    assert (command.state, command.action) == (State.WAITING_IMAGE, None)
    assert not list(rig.controller.halt(rig.now))
    rig.observe()
    assert rig.command().state == State.WAITING_GOAL


def test_a_report_holds_the_images_that_it_was_made_from():
    rig = Rig().running(3.0, -2.0)
    rig.observe()
    report = rig.plan()
    assert np.array_equal(report.goal.data.images[0], picture(3.0, -2.0))
    assert np.array_equal(report.encoded.data.images[0], picture(*rig.position))
    assert report.encoded.context.newest[0].tolist() == pytest.approx(rig.position)
    assert report.goal_distance == pytest.approx(np.square(rig.position - [3.0, -2.0]).mean())
    assert report.image_check.fault == ''


def test_a_report_of_an_image_that_cannot_be_decoded_knows_nothing_of_it():
    rig = Rig().running()

    def corrupt():
        raise ValueError('corrupt')

    rig.controller.observe(corrupt, rig.now)
    report = rig.plan()
    assert (report.state, report.reason) == (State.STALE_IMAGE, 'ValueError: corrupt')
    assert report.encoded is report.image_check is None
    assert np.isnan(report.goal_distance)
    assert report.planning_delay_s == CONFIG.planning_delay


# The horizon and the warm start.


def shrinking(**changes):
    return replace(CONFIG, horizon_mode='shrinking', horizon=10, horizon_floor=4, **changes)


def horizons(rig, count, **kwargs):
    found = []
    for _ in range(count):
        rig.step(**kwargs)
        found.append(rig.report.plan.horizon)
    return found


def test_a_fixed_horizon_is_fixed():
    rig = Rig()
    rig.goal(3.0, 0.0)
    assert set(horizons(rig, 20)) == {8}


def test_a_shrinking_horizon_shrinks_to_its_floor_and_is_renewed_by_a_new_goal():
    rig = Rig(shrinking())
    rig.goal(30.0, 0.0)
    assert horizons(rig, 10) == [10, 9, 8, 7, 6, 5, 4, 4, 4, 4]
    rig.goal(-30.0, 0.0)
    assert horizons(rig, 3) == [10, 9, 8]


def test_a_shrunken_horizon_is_renewed_by_a_stall():
    rig = Rig(shrinking(stall_time=1.0))
    rig.goal(3.0, 0.0)
    found = []
    for _ in range(30):
        rig.position = np.zeros(2)  # held fast
        rig.step()
        found.append(rig.report.plan.horizon)
    assert found[:7] == [10, 9, 8, 7, 6, 5, 4]
    assert found.count(10) >= 2
    first = found.index(10, 1)
    assert 10 <= first <= 13
    assert found[first : first + 7] == [10, 9, 8, 7, 6, 5, 4]


def test_a_floor_above_the_horizon_is_the_horizon():
    rig = Rig(replace(shrinking(), horizon=3))
    rig.goal(3.0, 0.0)
    assert set(horizons(rig, 5)) == {3}


def test_the_warm_start_is_the_previous_plan_one_step_on():
    rig = Rig().running()
    rig.step()
    before = rig.report.plan
    rig.step()
    init = rig.planner.inits[-1]
    assert torch.equal(init.actions[:, :-1], before.actions[:, 1:])
    assert not init.actions[:, -1].any()
    assert torch.equal(init.states[:, :-1], before.states[:, 1:])


def test_prepare_warms_up_and_leaves_no_trace():
    rig = Rig()
    times = rig.controller.prepare()
    assert 3 <= len(times) <= 20
    rig.goal(3.0, 0.0)
    rig.step()
    assert rig.planner.inits[-1] is None


# Reproducibility.


@pytest.mark.parametrize('history', [1, 3])
def test_same_inputs_and_seed_same_commands(history):
    config = GraspConfig(
        goal_distance='latent', iterations=5, sync_every=3, greedy_choices=6, proposals=4,
        state_noise=0.02,
    )

    def run(seed, global_seed):
        torch.manual_seed(global_seed)
        model = LinearModel() if history == 1 else HistoryModel()
        planner = GraspPlanner(model, config)
        rig = Rig(replace(CONFIG, seed=seed), model=model, planner=planner)
        rig.controller.prepare()
        rig.goal(2.0, -1.0)
        commands = rig.steps(15)
        return np.stack([np.zeros(2) if c.action is None else c.action for c in commands])

    first = run(3, 1)
    assert np.array_equal(first, run(3, 2))
    assert not np.array_equal(first, run(4, 1))


def test_a_used_controller_does_what_a_fresh_one_does():
    config = GraspConfig(goal_distance='latent', iterations=3, greedy_choices=6, proposals=4)
    linear = LinearModel()
    rig = Rig(model=linear, planner=GraspPlanner(linear, config))

    def run():
        rig.controller.reset()
        rig.position, rig.velocity, rig.now = np.zeros(2), np.zeros(2), 1000 * PERIOD
        rig.goal(2.0, -1.0)
        return np.stack([c.action for c in rig.steps(10) if c.action is not None])

    assert np.array_equal(run(), run())


def test_of_many_pictures_only_that_which_is_planned_from_is_decoded():
    rig = Rig()
    decoded = []

    def shot(number):
        return lambda: decoded.append(number) or picture(*rig.position)

    rig.goal(1.0, 0.0)
    for number in range(30):
        assert rig.controller.observe(shot(number), rig.now + number * MS) is None
        if number in (9, 29):
            assert rig.plan().state is State.RUNNING
    assert decoded == [9, 29]
