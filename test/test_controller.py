"""The controller with toy models and times handed in: every state, and no command that is wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_models import LinearModel, ToyModel, picture, preprocess

from grasp_ros.core.config import ControllerConfig
from grasp_ros.core.controller import Controller
from grasp_ros.core.limits import Limits
from grasp_ros.core.objective import goal_distance
from grasp_ros.core.types import ActionKind, ActionSpace, Plan, State
from grasp_ros.core.world_model import rollout
from grasp_ros.planners.grasp import GraspConfig, GraspPlanner

MS = 1_000_000
PERIOD = 100 * MS
MAX_SPEED = 5.0
CONFIG = ControllerConfig(horizon=8, planning_delay=0.1)


class ProportionalPlanner:
    """Each action goes a share of the way to the goal: the first one tells the state exactly."""

    def __init__(self, model, gain=0.2):
        self.model, self.gain = model, gain
        self.distance = goal_distance(model, 'latent')
        self.problems, self.inits = [], []
        self.error = self.meanwhile = None
        self.defect = 0.0

    def prepare(self, problem):
        pass

    def first_action(self, state, goal, size):
        return np.tile(self.gain * (goal - state), size // 2) / (size // 2)

    def plan(self, problem, init=None, *, generator, deadline_s=None):
        self.problems.append(problem)
        self.inits.append(init)
        if self.meanwhile is not None:
            self.meanwhile()
        if self.error is not None:
            raise self.error
        frames, past, actions = problem.context, problem.past_actions, []
        share = problem.action_low.shape[0] // 2
        for _ in range(problem.horizon):
            action = (self.gain * (problem.goal - frames[:, -1]) / share).repeat(1, share)
            action = action.clamp(problem.action_low, problem.action_high)
            window = torch.cat([past, action[:, None]], dim=1)
            following = self.model.predict(frames, window)
            frames = torch.cat([frames[:, 1:], following[:, None]], dim=1)
            past = window[:, 1:]
            actions.append(action)
        stacked = torch.stack(actions, dim=1)
        rolled = rollout(self.model, problem.context, problem.past_actions, stacked)
        return Plan(
            actions=stacked,
            states=rolled,
            rollout=rolled,
            terminal_cost=self.distance(rolled[:, -1], problem.goal),
            defect=torch.full((1,), self.defect).double(),
            iterations=1,
            solve_time_s=1e-3,
        )


class HistoryModel(ToyModel):
    """The linear plant, but the model wants three frames, and keeps what it was given."""

    history = 3

    def __init__(self):
        self.seen = []

    def predict(self, latents, actions):
        self.seen.append((latents.clone(), actions.clone()))
        return latents[:, -1] + actions[:, -1]


class Rig:
    """A robot whose position changes by velocity times time, its controller, and a clock."""

    def __init__(self, config=CONFIG, *, model=None, kind=ActionKind.VELOCITY, skip=1,
                 rate=np.inf, planner=None):  # fmt: skip
        identity = torch.eye(2, dtype=torch.float64)
        self.model = model or LinearModel(control=torch.cat([identity] * skip, dim=1))
        self.planner = planner or ProportionalPlanner(self.model)
        # A normalised action of 1 is 1 unit in a command's period.
        seconds = config.model_dt / skip
        limit = np.full(2, MAX_SPEED)
        self.space = ActionSpace(
            kind, ('x', 'y'), ('m/s', 'm/s'), -limit, limit, np.zeros(2),
            np.full(2, 1 / seconds), skip,
        )  # fmt: skip
        limits = Limits(-limit, limit, np.full(2, rate))
        self.controller = Controller(
            self.model, self.planner, preprocess, self.space, limits, config
        )
        self.now = 1000 * PERIOD
        self.position = np.zeros(2)
        self.velocity = np.zeros(2)
        self.track = []
        self.report = None

    def goal(self, *position):
        return self.controller.set_goal(picture(*position))

    def observe(self, **kwargs):
        return self.controller.observe(picture(*self.position), self.now, **kwargs)

    def plan(self):
        self.report = self.controller.plan(self.now)
        return self.report

    def command(self, **kwargs):
        """Take the command due now; the robot obeys it."""
        command = self.controller.command(self.now, **kwargs)
        if command.action is not None and not self.controller.config.dry_run:
            self.velocity = command.action.copy()
        return command

    def wait(self, duration=PERIOD):
        self.position = self.position + self.velocity * duration / 1e9
        self.now += duration

    def step(self, *, see=True, think=True):
        """One control period: command, picture, plan."""
        if see:
            self.observe()
        command = self.command()
        self.track.append(command)
        if think:
            self.plan()
        self.wait()
        return command

    def steps(self, count, **kwargs):
        return [self.step(**kwargs) for _ in range(count)]

    def running(self, *goal):
        """Bring it to RUNNING."""
        self.goal(*(goal or (3.0, -2.0)))
        self.steps(3)
        assert self.track[-1].state == State.RUNNING
        return self


def states(commands):
    return [command.state for command in commands]


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
    assert rig.report.outlook is not None
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


# Stops, each entered and left without a restart.


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


def test_the_pictures_for_people():
    rig = Rig()
    assert rig.controller.pictures() is None
    rig.running(3.0, -2.0)
    now, goal = rig.controller.pictures()
    assert np.array_equal(goal, picture(3.0, -2.0))
    assert now.shape == goal.shape


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


# Latency compensation.


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
        rig.plan()
        begins.append(rig.report.timed.start_ns - began)
        rig.wait(round(delay * 1e9))
        rig.controller.planned(rig.now)
    return begins


def test_the_measured_delay_replaces_the_configured_one():
    rig = Rig(replace(CONFIG, planning_delay=0.1, estimate_delay=True))
    rig.goal(3.0, -2.0)
    begins = planned_for(rig, 0.2, times=5)
    assert begins == [PERIOD, PERIOD, 2 * PERIOD, 2 * PERIOD, 2 * PERIOD], 'one warms up'
    assert rig.controller.planning_delay == 0.2
    rig.controller.reset()
    assert rig.controller.planning_delay == 0.1


def test_a_constant_delay_stays():
    rig = Rig()
    rig.goal(3.0, -2.0)
    assert set(planned_for(rig, 0.3, times=5)) == {PERIOD}
    assert rig.controller.planning_delay == 0.1


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
    rig.plan()
    rig.wait(5 * PERIOD)
    rig.controller.planned(rig.now)
    assert rig.controller.planning_delay == 0.2


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


# The horizon and the warm start.


def shrinking(**changes):
    return replace(CONFIG, horizon_mode='shrinking', horizon=10, horizon_floor=4, **changes)


def horizons(rig, count, **kwargs):
    found = []
    for _ in range(count):
        rig.step(**kwargs)
        found.append(rig.report.horizon)
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
        found.append(rig.report.horizon)
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
        goal_distance='latent', iterations=5, sync_every=3, greedy_choices=6, proposals=4
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
