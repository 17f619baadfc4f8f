"""The node `planner` over real DDS: does it live, command, report and end as it says?"""

import math
import signal
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from grasp_ros.msg import PlanStatus
from grasp_ros.ros.qos import imagined_qos
from grasp_ros.ros.ros_messages import image_decoder, stamp_ns, time_message
from harness.camera import EPISODE, PERIOD_S, render
from harness.planner_process import BUSY, command_stamp, planner, speed, velocity

pytestmark = pytest.mark.ros

SIMULATED_START_NS = 1_000 * 10**9
HORIZON = 50
# Solves that are quick, and complete on a busy machine, too.
LIGHT = {
    **BUSY,
    'planner.deadline': 0.0,
    'planner.horizon_mode': 'fixed',
    'grasp.iterations': 3,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
}


@pytest.fixture(scope='module')
def process_of_planner():
    """Start a planner and configure it."""
    with planner() as bench:
        assert bench.life == 'unconfigured'
        bench.prepare(LIGHT)
        assert bench.configure(), bench.child.output
        assert bench.life == 'inactive'
        yield bench


@pytest.fixture
def bench(process_of_planner):
    """Return the planner active, with nothing known."""
    bench = process_of_planner
    if bench.life == 'unconfigured':
        assert bench.configure(), bench.child.output
    bench.refresh()
    return bench


def test_it_waits_for_image_and_goal_and_commands_nothing_before(bench):
    state = bench.until_state(PlanStatus.WAITING_IMAGE)
    assert state.reason == 'no image received yet'
    bench.camera.show()
    bench.until_state(PlanStatus.WAITING_GOAL)
    assert not bench.commands and not bench.plans
    bench.camera.goal()
    bench.until_running()
    assert bench.until_state(PlanStatus.RUNNING).reason == ''
    first_motion = next(a.message for a in bench.commands if speed(a.message))
    towards = EPISODE.goal - EPISODE.start  # in the same room: the straight line is free
    assert velocity(first_motion) @ towards > 0
    assert first_motion.header.frame_id == 'base_link'


def test_commands_come_at_the_control_rate_while_planning(bench):
    bench.run()
    bench.commands.clear()
    bench.graph.spin_for(3.0)
    stamps = np.array([command_stamp(a.message) for a in bench.commands]) / 1e9
    # A busy machine loses some; `make soak` judges how many.
    assert 15 < len(stamps) < 33
    assert np.median(np.diff(stamps)) == pytest.approx(PERIOD_S, abs=0.02)


def test_deactivation_publishes_the_stop_and_nothing_after(bench):
    bench.run()
    assert bench.deactivate()
    assert bench.life == 'inactive'
    bench.until(lambda: bench.commands and not speed(bench.commands[-1].message))
    assert speed(bench.commands[-2].message) > 0
    seen = len(bench.commands), len(bench.statuses), len(bench.plans)
    bench.graph.spin_for(0.6)  # the camera goes on
    assert (len(bench.commands), len(bench.statuses), len(bench.plans)) == seen


def test_with_limits_the_stop_decelerates_and_is_complete(bench):
    limits = {'command.max_rate': [2.0, 2.0], 'command.max_acceleration': [15.0, 15.0]}
    bench.prepare({**LIGHT, **limits})
    assert bench.configure(), bench.child.output
    bench.refresh()
    bench.run()
    bench.until(lambda: speed(bench.commands[-1].message) > 0.3)
    assert bench.deactivate()
    bench.until(lambda: not speed(bench.commands[-1].message))
    sent = np.array([velocity(a.message) for a in bench.commands])
    assert np.abs(np.diff(sent, axis=0)).max() <= 2.0 * PERIOD_S + 1e-9
    assert np.abs(np.diff(sent, 2, axis=0)).max() <= 15.0 * PERIOD_S**2 + 1e-9
    bench.prepare(LIGHT)
    assert bench.configure(), bench.child.output


def test_a_planner_that_commanded_nothing_stops_without_a_command(bench):
    bench.camera.show()
    bench.until_state(PlanStatus.WAITING_GOAL)
    assert bench.deactivate()
    bench.graph.spin_for(0.3)
    assert not bench.commands


def test_cleaned_up_in_the_middle_of_planning_it_can_be_configured_again(bench):
    for _ in range(3):
        bench.run()
        assert bench.deactivate() and bench.cleanup()
        assert bench.life == 'unconfigured'
        assert not bench.node.count_publishers('command')
        assert bench.configure(), bench.child.output
        bench.refresh()
    bench.run()
    assert 'Traceback' not in bench.child.output


def test_the_goal_is_forgotten_with_deactivation(bench):
    bench.run()
    bench.refresh()
    bench.camera.show()
    bench.until_state(PlanStatus.WAITING_GOAL)
    bench.graph.spin_for(0.3)
    assert not bench.commands


def test_each_tick_has_a_status_that_makes_sense(bench):
    bench.run()
    bench.statuses.clear()
    bench.graph.spin_for(2.0)
    statuses = [arrival.message for arrival in bench.statuses]
    assert 10 < len(statuses) < 23
    plans = [status.plans for status in statuses]
    assert plans == sorted(plans) and plans[-1] > plans[0] > 0
    missed = [status.missed for status in statuses]
    assert missed == sorted(missed)
    for status in statuses:
        assert status.state == PlanStatus.RUNNING
        assert status.goal_distance_unit == 'model steps'
        assert 1.0 < status.goal_distance < 100.0
        assert 0.0 <= status.image_age < BUSY['image_timeout']
        assert status.image_age <= status.plan_age < BUSY['max_plan_age']
        assert 0.0 < status.solve_time < BUSY['max_plan_age']
        assert status.iterations == LIGHT['grasp.iterations']
        assert status.horizon == HORIZON
        assert math.isfinite(status.terminal_cost) and status.defect >= 0.0
        assert 0.0 <= status.jitter < PERIOD_S
        assert status.clamped == 0
        assert (status.dry_run, status.planner) == (False, 'grasp')
        assert status.device in ('cpu', 'cuda', 'cuda:0')
        assert status.execution == ('eager' if status.device == 'cpu' else 'cuda graph')
        assert status.header.frame_id == 'base_link'
        assert abs(stamp_ns(status.header.stamp) - time.time_ns()) < 10 * 10**9


def test_plans_are_consistent_and_commands_are_theirs(bench):
    bench.run()
    bench.plans.clear()
    bench.until(lambda: len(bench.plans) >= 3)
    bench.commands.clear()
    bench.until(lambda: len(bench.commands) >= 3)
    shown = {stamp for _, stamp in bench.camera.sent}
    for plan in (arrival.message for arrival in bench.plans):
        assert (plan.horizon, plan.action_dim, plan.model_dt) == (HORIZON, 2, PERIOD_S)
        assert list(plan.action_names) == ['linear.x', 'linear.y']
        assert list(plan.action_units) == ['m/s', 'm/s']
        assert len(plan.actions) == plan.horizon * plan.action_dim
        assert np.abs(plan.actions).max() <= 1.0 + 1e-6
        assert len(plan.goal_distances) == plan.horizon
        assert np.isfinite(plan.goal_distances).all()
        assert plan.terminal_cost == pytest.approx(plan.goal_distances[-1], rel=1e-3, abs=1e-3)
        assert plan.solve_time > 0 and plan.iterations == LIGHT['grasp.iterations']
        assert stamp_ns(plan.observation_stamp) in shown
        ahead = stamp_ns(plan.header.stamp) - stamp_ns(plan.observation_stamp)
        assert 0 <= ahead < BUSY['max_plan_age'] * 1e9
    planned = np.concatenate([np.reshape(a.message.actions, (-1, 2)) for a in bench.plans])
    for arrival in bench.commands:
        distance = np.abs(planned - velocity(arrival.message)).max(axis=1)
        assert distance.min() < 1e-6


def test_imagination_is_a_film_strip_for_who_listens(bench):
    bench.run()
    strips = []
    listener = bench.node.create_subscription(
        Image, 'planner/imagined', strips.append, imagined_qos()
    )
    bench.until(lambda: len(strips) >= 3)
    strip = image_decoder(strips[-1])()
    assert strip.shape == (64, 64 * 8, 3)
    np.testing.assert_array_equal(strip[:, :64], render(EPISODE.start))
    np.testing.assert_array_equal(strip[:, -64:], render(EPISODE.goal))
    first_imagined = strip[:, 64:128].astype(int)
    assert np.abs(first_imagined - render(EPISODE.start)).mean() < 20
    bench.node.destroy_subscription(listener)
    bench.until_running()


def test_disabled_it_stops_and_enabled_it_goes_on(bench):
    bench.run()
    answer = bench.enable(False)
    assert answer.success and answer.message == 'stopped and holding'
    bench.until_state(PlanStatus.DISABLED)
    bench.commands.clear()
    bench.until(lambda: len(bench.commands) >= 3)
    assert not any(speed(a.message) for a in bench.commands)
    assert bench.enable(True).success
    bench.until_running()


def test_enable_is_refused_while_inactive(bench):
    assert bench.deactivate()
    answer = bench.enable(True)
    assert not answer.success
    assert answer.message == 'the node is not active'


def test_dangerous_parameters_cannot_be_set_while_configured(bench):
    (result,) = bench.set({'planner.horizon': 9})
    assert not result.successful
    assert 'planner.horizon' in result.reason and 'clean up' in result.reason
    bench.run()


def test_harmless_parameters_count_at_once(bench):
    bench.run()
    (result,) = bench.set({'image_timeout': 0.3})
    assert result.successful, result.reason
    bench.camera.make = None
    assert 'image_timeout is 0.30 s' in bench.until_state(PlanStatus.STALE_IMAGE).reason
    assert bench.set({'image_timeout': BUSY['image_timeout']})[0].successful


def test_a_dry_run_that_is_switched_on_stops_the_robot_and_stays_on(bench):
    bench.restart({**LIGHT, 'dry_run': False})
    bench.run()
    assert bench.set({'dry_run': True})[0].successful
    bench.until(lambda: bench.status.dry_run)
    bench.until(lambda: speed(bench.commands[-1].message) == 0.0)
    seen = len(bench.commands)
    bench.until_state(PlanStatus.RUNNING)
    bench.graph.spin_for(0.5)
    assert len(bench.commands) == seen
    (result,) = bench.set({'dry_run': False})
    assert not result.successful and 'by surprise' in result.reason
    bench.restart(LIGHT)
    bench.run()


def test_a_dry_run_plans_and_reports_but_commands_nothing(bench):
    bench.restart({**LIGHT, 'dry_run': True})
    bench.camera.show()
    bench.camera.goal()
    status = bench.until_state(PlanStatus.RUNNING)
    assert status.dry_run
    bench.until(lambda: len(bench.plans) >= 5)
    assert bench.deactivate()
    bench.graph.spin_for(0.3)
    assert not bench.commands
    bench.restart(LIGHT)


def test_sigint_publishes_the_stop_and_ends_it(bench):
    # The last test of this process.
    ends_with_the_stop(bench, signal.SIGINT)


def ends_with_the_stop(bench, number):
    """Send a signal in mid-run: the last command is the stop, the exit status 0."""
    bench.run()
    bench.child.popen.send_signal(number)
    bench.until(lambda: bench.child.popen.poll() is not None)
    assert bench.child.wait() == 0
    bench.until(lambda: not speed(bench.commands[-1].message))
    assert speed(bench.commands[-2].message) > 0
    assert 'Traceback' not in bench.child.output


@pytest.fixture(scope='module')
def process_on_simulated_time():
    """Start a planner in a namespace, on simulated time, and the clock."""
    with planner('-p', 'use_sim_time:=true', namespace='/robot1') as bench:
        bench.prepare(LIGHT)
        assert bench.configure(), bench.child.output
        yield bench, SimulatedClock(bench.node)


@pytest.fixture
def simulated(process_on_simulated_time):
    """Return the planner active, with nothing known, and the clock at its start."""
    bench, clock = process_on_simulated_time
    clock.now_ns, clock.rate = SIMULATED_START_NS, 1.0
    bench.refresh()
    bench.camera.now_ns = lambda: clock.now_ns
    return bench, clock


class SimulatedClock:
    """Publishes `/clock` every 10 ms, advancing at `rate` times the wall's."""

    def __init__(self, node):
        self.now_ns, self.rate = SIMULATED_START_NS, 1.0
        self._publisher = node.create_publisher(Clock, '/clock', 10)
        node.create_timer(0.01, self._advance)
        self._previous_s = time.monotonic()

    def _advance(self):
        now_s = time.monotonic()
        self.now_ns += round((now_s - self._previous_s) * self.rate * 1e9)
        self._previous_s = now_s
        self._publisher.publish(Clock(clock=time_message(self.now_ns)))


def test_in_a_namespace_ticks_follow_the_simulated_clock(simulated):
    bench, clock = simulated
    assert bench.node.count_publishers('/robot1/command') == 1
    assert not bench.node.count_publishers('/command')
    bench.run()

    clock.rate = 0.5
    bench.graph.spin_for(0.5)
    bench.statuses.clear()
    missed = bench.until_state(PlanStatus.RUNNING).missed
    bench.graph.spin_for(4.0)
    stamps = np.array([stamp_ns(a.message.header.stamp) for a in bench.statuses]) / 1e9
    assert 10 < len(stamps) < 25
    assert np.median(np.diff(stamps)) == pytest.approx(PERIOD_S, abs=0.03)
    assert SIMULATED_START_NS / 1e9 < stamps[0] < SIMULATED_START_NS / 1e9 + 600
    # By the steady clock every second tick would be missing.
    assert bench.status.missed - missed < len(stamps) / 3

    clock.rate = 0.0
    assert 'the clock stands still' in bench.until_state(PlanStatus.STALE_IMAGE).reason
    seen = len(bench.commands)
    bench.until(lambda: len(bench.commands) >= seen + 3)
    assert not any(speed(a.message) for a in bench.commands[seen:])

    clock.rate = 1.0
    bench.until_running()
    clock.now_ns = SIMULATED_START_NS - 100 * 10**9  # a bag that starts anew
    bench.until(lambda: stamp_ns(bench.status.header.stamp) < SIMULATED_START_NS)
    bench.until_running()
    assert stamp_ns(bench.status.header.stamp) < SIMULATED_START_NS


def test_sigterm_publishes_the_stop_and_ends_it(simulated):
    # The last test of this process.
    ends_with_the_stop(simulated[0], signal.SIGTERM)


def test_shutdown_by_service_publishes_the_stop():
    with planner(namespace='/shut_down') as bench:
        bench.restart(LIGHT)
        bench.run()
        assert bench.shut_down()
        assert bench.life == 'finalized'
        bench.until(lambda: not speed(bench.commands[-1].message))
        seen = len(bench.commands)
        bench.graph.spin_for(0.3)
        assert len(bench.commands) == seen
        assert bench.child.end() == 0
        assert 'Traceback' not in bench.child.output


def test_sigint_during_configure_ends_it_quickly():
    with planner(namespace='/impatient') as bench:
        request = bench.request_configure()
        bench.until(lambda: 'loading model' in bench.child.output)
        assert not request.done()
        bench.child.popen.send_signal(signal.SIGINT)
        assert bench.child.wait(20.0) == 0
        assert 'interrupted while loading the model' in bench.child.output
        assert 'warm-up solves' not in bench.child.output
        assert 'Traceback' not in bench.child.output
