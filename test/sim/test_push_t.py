"""Push-T: physics, criterion, images, scripted motion and episodes, against known answers."""

import math

import numpy as np
import pytest

pytest.importorskip('pymunk')

from grasp_ros.sim.push_t.episodes import make_episode
from grasp_ros.sim.push_t.policy import collect
from grasp_ros.sim.push_t.robot import AGENT, BLOCK, TABLE, PushTRobot, render
from grasp_ros.sim.push_t.success import PushTMonitor
from grasp_ros.sim.push_t.world import (
    AGENT_RADIUS,
    BAR,
    MAX_DISPLACEMENT,
    SIZE,
    PushTable,
    advance,
    errors,
    gap,
    make_state,
    outline,
    succeeded,
)
from grasp_ros.training.data.push_t_data import SYMMETRIES, transform_commands, transform_states

BLOCK_PLACE = (256.0, 200.0)
APART = make_state((100.0, 400.0), BLOCK_PLACE, 0.0)
BESIDE = make_state((256.0 - BAR / 2 - AGENT_RADIUS - 5.0, 290.0), BLOCK_PLACE, 0.0)
"""The agent is 5 px left of the upright bar, below its centre of gravity."""


def drive(state, displacement, steps):
    return advance(state[None], np.tile(displacement, (1, steps, 1)))[0]


def test_the_agent_goes_as_far_as_told_and_stops():
    table = PushTable(APART)
    table.command([0.02, -0.03])
    table.tick(300)
    np.testing.assert_allclose(table.state[:2], [120.0, 370.0], atol=1e-3)
    np.testing.assert_allclose(table.state[5:7], 0.0, atol=1e-3)


def test_an_untouched_block_stays():
    after = drive(APART, [0.02, 0.0], 5)
    assert (after[:, 2:5] == APART[2:5]).all()
    assert (np.diff(after[:, 0]) > 0).all()


def test_a_push_below_the_centre_moves_and_turns_the_block():
    after = drive(BESIDE, [0.02, 0.0], 6)[-1]
    assert after[0] > BESIDE[0] + 30.0
    # The bar's lower end goes right: from y to x, against the sense of angles.
    assert after[4] < -0.1
    end_of_bar = outline(after)[4:6].mean(axis=0)
    assert end_of_bar[0] > 256.0 + 15.0
    assert abs(gap(after)) < 1.0


def test_a_block_stops_when_it_is_no_longer_pushed():
    pushed = drive(BESIDE, [0.02, 0.0], 6)[-1]
    left = drive(pushed, [-0.03, 0.0], 3)
    rest = drive(left[-1], [0.0, 0.0], 10)
    np.testing.assert_allclose(rest[:, 2:5], np.tile(left[-1, 2:5], (10, 1)), atol=1e-6)


def test_the_future_depends_on_the_state_alone():
    commands = np.tile([0.02, 0.002], (1, 12, 1))
    whole = advance(BESIDE[None], commands)[0]
    halves = advance(whole[5][None], commands[:, 6:])[0]
    assert np.abs(whole[5][7:]).max() > 0  # in the middle of a push
    assert (halves == whole[6:]).all()


def test_walls_hold_the_agent_and_commands_are_limited():
    after = drive(APART, [-1.0, 1.0], 40)
    assert (after[-1, :2] > 7.0).all() and (after[-1, :2] < 504.0).all()
    one, same = (drive(APART, [x, 0.0], 1)[0] for x in (MAX_DISPLACEMENT, 1.0))
    assert (one == same).all()


@pytest.mark.parametrize('wrong', [[0.0], [math.nan, 0.0], [0.0, 0.0, 0.0]])
def test_wrong_commands_and_states_are_refused(wrong):
    table = PushTable(APART)
    with pytest.raises(ValueError, match='two finite numbers'):
        table.command(wrong)
    with pytest.raises(ValueError, match='10 finite numbers'):
        table.set_state(wrong)


@pytest.mark.parametrize(
    ('agent', 'block', 'turned', 'reached'),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0, True),
        ((14.0, 0.0), (0.0, 14.0), 0.0, True),  # 19.8 px together
        ((14.2, 0.0), (0.0, 14.2), 0.0, False),  # 20.1 px together
        ((0.0, 0.0), (0.0, 19.9), 0.34, True),
        ((0.0, 0.0), (0.0, 0.0), 0.35, False),  # a ninth of pi is 0.349
        ((0.0, 0.0), (0.0, 0.0), 2 * math.pi - 0.34, True),
        ((0.0, 0.0), (0.0, 0.0), -6 * math.pi + 0.34, True),
        ((0.0, 0.0), (0.0, 0.0), math.pi, False),
    ],
)
def test_criterion(agent, block, turned, reached):
    goal = make_state((200.0, 300.0), (256.0, 256.0), 3.0)
    state = goal + make_state(agent, block, turned)
    assert succeeded(state, goal) == reached
    assert succeeded(goal, state) == reached


def test_angle_errors_wrap_around():
    goal = make_state((0.0, 0.0), (0.0, 0.0), -3.0)
    state = make_state((3.0, 0.0), (0.0, 4.0), 3.0)
    position, angle = errors(state, goal)
    assert position == pytest.approx(5.0)
    assert angle == pytest.approx(2 * math.pi - 6.0)


def test_gap_by_hand():
    above = make_state((256.0, 200.0 - 40.0), BLOCK_PLACE, 0.0)
    corner = make_state((256.0 + 60.0 + 30.0, 200.0 - 40.0), BLOCK_PLACE, 0.0)
    turned = make_state((256.0 + 40.0, 200.0), BLOCK_PLACE, math.pi / 2)
    within = make_state((256.0, 250.0), BLOCK_PLACE, 0.0)
    found = gap(np.stack([above, corner, turned, within]))
    np.testing.assert_allclose(found, [25.0, 35.0, 25.0, -15.0 - 15.0], atol=1e-9)


def test_pictures_show_things_where_they_are():
    turned = make_state((100.0, 400.0), (300.0, 200.0), math.pi / 2)
    upright, level = render(np.stack([APART, turned]), side=128)
    quarter = SIZE / 128

    def colour(image, x, y):
        return tuple(image[int(y / quarter), int(x / quarter)])

    for image in (upright, level):
        assert colour(image, 100, 400) == AGENT
        assert colour(image, 400, 450) == TABLE
    assert colour(upright, 256, 215) == BLOCK == colour(upright, 256, 310)
    assert colour(upright, 300, 260) == TABLE
    # A quarter turn from x to y: the bar that pointed down points left.
    assert colour(level, 285, 200) == BLOCK == colour(level, 190, 200)
    assert colour(level, 256, 260) == TABLE


def test_pictures_tell_half_a_pixel():
    moved = APART + make_state((4.0, 0.0), (0.0, 0.0), 0.0)
    first, second = render(np.stack([APART, moved])).astype(int)
    assert np.abs(first - second).max() > 30
    assert first.shape == (64, 64, 3)


def test_scripted_motion_is_reproducible_and_makes_contact():
    motion = collect(6, 30, seed=3)
    again = collect(2, 30, seed=3)
    assert (motion.states[:2] == again.states).all()
    assert motion.frames.shape == (6, 31, 10) and motion.actions.shape == (6, 30, 5, 2)
    assert np.abs(motion.commands).max() <= MAX_DISPLACEMENT
    moved = np.linalg.norm(np.diff(motion.frames[..., 2:4], axis=1), axis=-1) > 1.0
    assert 0.15 < moved.mean() < 0.8
    corners = outline(motion.states)
    assert corners.min() > 2.0 and corners.max() < 509.0
    replayed = advance(motion.states[:, 0], motion.commands)
    assert (replayed == motion.states[:, 1:]).all()


def test_episodes_can_be_solved_but_not_by_standing_still():
    for seed in (1000, 1001, 1002):
        episode, again = make_episode(seed), make_episode(seed)
        assert (episode.start == again.start).all() and (episode.goal == again.goal).all()
        assert episode.commands.shape == (25, 2) and episode.budget == 50
        assert not succeeded(episode.start, episode.goal)
        end = advance(episode.start[None], episode.commands[None])[0, -1]
        assert succeeded(end, episode.goal)
    assert len(make_episode(1000, ahead=40).commands) == 40


def test_the_judge_waits_for_the_criterion_and_no_longer_than_the_budget():
    goal = make_state((200.0, 300.0), (256.0, 256.0), 3.0)
    monitor = PushTMonitor(7, True, goal, budget=3)
    far = goal + make_state((30.0, 0.0), (0.0, 0.0), 0.5)
    near = goal + make_state((3.0, 0.0), (0.0, 4.0), -2 * math.pi)
    assert not monitor.update(far[:5]) and not monitor.update(far[:5])
    assert monitor.update(near[:5]) and monitor.ended
    assert monitor.update(far[:5])  # what comes after changes nothing
    result = monitor.result()
    assert (result.reached, result.steps, result.group) == (True, 2, 'block_moves')
    assert (result.position_px, result.angle_rad) == (pytest.approx(5.0), pytest.approx(0.0))

    late = PushTMonitor(8, False, goal, budget=1)
    assert not late.update(far) and late.update(far)
    assert not late.result().reached
    assert late.result().row() == {
        'seed': 8, 'reached': False, 'moves_block': False, 'steps': 1, 'position_px': 30.0,
        'angle_deg': pytest.approx(28.65),
    }  # fmt: skip


def test_the_robot_follows_the_clock_and_tells_the_truth():
    robot = PushTRobot(1000, time_s=5.0)
    episode = make_episode(1000)
    assert (robot.image() == render(episode.start)).all()
    assert (robot.goal_image() == render(episode.goal)).all()
    # Commands at the control rate, time cut anyhow: as the recorded motion.
    for step, displacement in enumerate(episode.commands):
        robot.command(displacement, 5.0 + 0.1 * step)
        robot.advance_to(5.043 + 0.1 * step)
    robot.advance_to(5.0 + 0.1 * len(episode.commands))
    truth = robot.truth()
    reached = [truth['pose'].x, truth['pose'].y, truth['block'].x, truth['block'].y]
    np.testing.assert_allclose(1000 * np.array(reached), episode.goal[:4], atol=1e-6)
    assert truth['block'].angle == pytest.approx(episode.goal[4])
    assert truth['block_goal'].angle == episode.goal[4]

    robot.reset(1001, time_s=100.0)
    assert (robot.image() == render(make_episode(1001).start)).all()
    assert robot.episode()['seed'] == 1001


@pytest.mark.parametrize('symmetry', range(SYMMETRIES))
def test_mirrored_and_turned_motion_is_motion(symmetry):
    motion = collect(1, 12, seed=1)
    states, commands = motion.states[0], motion.commands[0]
    assert np.abs(np.diff(states[:, 4])).max() > 0.01  # it turns the block
    changed = transform_states(states, symmetry)
    driven = advance(changed[:1], transform_commands(commands, symmetry)[None])[0]
    position, angle = errors(driven, changed[1:])
    assert position.max() < 1e-6 and angle.max() < 1e-6
    assert np.allclose(changed[:, :4], states[:, :4]) == (symmetry == 0)
