"""When a goal counts as reached, and when the robot gives it up."""

from dataclasses import replace

import numpy as np
import pytest

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import policy_for
from grasp_ros.control.progress import StallMonitor, goal_bounds, is_progress
from grasp_ros.control.types import State
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.planning.objective import goal_distance
from harness.controller_rig import CONFIG, Rig, states
from harness.toy_models import picture

SECOND = 1_000_000_000
PATIENCE = replace(CONFIG, give_up_time=2.0)


class StuckRig(Rig):
    """The robot trembles, but does not come forward, while `stuck`."""

    stuck = True

    def wait(self, *args):
        before = self.position
        super().wait(*args)
        if self.stuck:
            self.position = before + np.array([0, 1e-6])


# What is progress.


@pytest.mark.parametrize(
    ('distance', 'best', 'expected'),
    [(5.0, None, True), (8.4, 10.0, True), (8.6, 10.0, False), (11.0, 10.0, False)],
)
def test_progress_is_more_than_the_noise(distance, best, expected):
    config = ControllerConfig(progress_noise=0.5, progress_ratio=0.1)
    assert is_progress(distance, best, config) == expected


def test_a_tolerance_keeps_the_hysteresis_of_the_policy():
    config = ControllerConfig(reached_distance=1.0, released_distance=1.5, progress_noise=0.2)
    assert goal_bounds(config, None) == (1.0, 1.5)
    assert goal_bounds(config, 2.0) == (2.0, 3.0)
    assert goal_bounds(config, 0.1) == (0.1, pytest.approx(0.3))
    assert goal_bounds(ControllerConfig(), 2.0) == (2.0, 4.0)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
def test_the_bounds_are_those_of_the_calibrated_curve(kind):
    model, manifest = load_model(find_model('two_room'))
    distance = goal_distance(model, kind)
    curve = getattr(manifest.calibration, kind)
    policy = policy_for(manifest, distance, ControllerConfig(), 2.0)
    assert policy.reached_distance == curve.median[2]
    assert policy.released_distance == curve.high[2]
    assert (policy.progress_noise, policy.progress_ratio) == (curve.noise, curve.noise_ratio)
    never = policy_for(manifest, distance, ControllerConfig(), 0.0)
    assert (never.reached_distance, never.released_distance) == (0.0, 0.0)


def test_a_manifest_without_curves_scales_one_step():
    model, manifest = load_model(find_model('two_room'))
    old = manifest.calibration.model_copy(update={'latent': None, 'time_to_reach': None})
    manifest = manifest.model_copy(update={'calibration': old})
    policy = policy_for(manifest, goal_distance(model, 'latent'), ControllerConfig(), 2.0)
    assert policy.reached_distance == pytest.approx(2 * old.one_step_latent)
    assert policy.released_distance == pytest.approx(4 * old.one_step_latent)
    assert policy.progress_noise == 0.0


# The watch.


def watch(**changes):
    return StallMonitor(ControllerConfig(give_up_time=3.0, **changes))


def test_only_driven_time_without_progress_counts():
    seen = watch(image_timeout=10.0)
    distances = [5.0, 5.0, 4.0, 4.0, 4.0, 3.9]
    for second, distance in enumerate(distances):
        assert not seen.update(second * SECOND, distance, driven=True)
    for second in range(6, 20):
        assert not seen.update(second * SECOND, 3.9, driven=False)
    assert 'goal.give_up_time is 3 s' in seen.update(20 * SECOND, 3.9, driven=True)
    assert seen.update(21 * SECOND, 0.1, driven=True), 'until restarted'
    seen.reset()
    assert not seen.update(22 * SECOND, 3.9, driven=True)


def test_a_gap_without_pictures_counts_as_long_as_a_picture_is_good():
    seen = watch(image_timeout=0.5)
    seen.update(0, 5.0, driven=True)
    for gap in range(1, 6):
        assert not seen.update(gap * 100 * SECOND, 5.0, driven=True)
    assert not seen.update(0, 5.0, driven=True), 'time jumped back'


def test_without_a_time_it_never_gives_up():
    seen = StallMonitor(ControllerConfig())
    for second in range(1000):
        assert not seen.update(second * SECOND, 5.0, driven=True)


# The controller.


def stalled(config=PATIENCE):
    rig = StuckRig(config)
    rig.goal(3.0, 0.0)
    seen = states(rig.steps(40))
    first = seen.index(State.STALLED)
    assert 20 <= first <= 24, 'give_up_time is 20 periods'
    assert set(seen[first:]) == {State.STALLED}
    return rig


def test_a_robot_that_does_not_come_nearer_stops_and_holds():
    rig = stalled()
    assert 'goal.give_up_time' in rig.track[-1].reason
    assert rig.track[-1].action.tolist() == [0, 0]
    assert rig.report.state == State.STALLED
    rig.stuck = False
    assert set(states(rig.steps(30))) == {State.STALLED}
    assert not rig.goal(3.0, 0.0), 'the same goal is no new one'
    assert set(states(rig.steps(5))) == {State.STALLED}


@pytest.mark.parametrize(
    'again',
    [
        lambda rig: rig.goal(3.0, 0.5),
        lambda rig: rig.controller.set_goal(picture(3.0, 0.0), restart=True),
        lambda rig: rig.controller.enable(True),
    ],
    ids=['new goal', 'restart', 'enable'],
)
def test_a_stalled_robot_is_sent_on_by(again):
    rig = stalled()
    rig.stuck = False
    again(rig)
    assert State.STALLED not in states(rig.steps(30))
    assert np.linalg.norm(rig.position - [3.0, 0.25]) < 0.6


def test_a_robot_that_moves_on_never_stalls():
    rig = Rig(replace(PATIENCE, reached_distance=1e-4, released_distance=4e-4))
    rig.goal(3.0, 0.0)
    seen = states(rig.steps(100))
    assert State.STALLED not in seen
    assert seen[-1] == State.REACHED


@pytest.mark.parametrize('changes', [{'give_up_time': 0.0}, {'dry_run': True}])
def test_nobody_gives_up(changes):
    rig = StuckRig(replace(PATIENCE, **changes))
    rig.goal(3.0, 0.0)
    assert State.STALLED not in states(rig.steps(100))


def test_a_goal_with_a_tolerance_of_its_own():
    rig = Rig(replace(CONFIG, reached_distance=1e-4, released_distance=4e-4))
    rig.controller.set_goal(picture(1.0, 0.0), tolerance=0.08)
    rig.steps(30)
    assert rig.track[-1].state == State.REACHED
    assert 0.6 < rig.position[0] < 0.8, 'at 0.6 the mean squared difference is 0.08'
    assert rig.controller.goal_distance < 0.08
    rig.goal(2.0, 0.0)
    assert np.isnan(rig.controller.goal_distance)
    rig.steps(60)
    assert abs(rig.position[0] - 2.0) < 0.03


def test_a_cleared_goal_stops_the_robot():
    rig = Rig().running()
    rig.controller.clear_goal()
    seen = rig.steps(5)
    assert set(states(seen)) == {State.WAITING_GOAL}
    assert seen[-1].action.tolist() == [0, 0]
    assert np.isnan(rig.controller.goal_distance)
    assert rig.goal(3.0, -2.0), 'the same goal is new again'
    assert states(rig.steps(3))[-1] == State.RUNNING
