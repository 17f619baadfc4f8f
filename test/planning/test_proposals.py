"""Correlated proposals and the greedy rollout, which show a local planner where to go."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.initial_guess import action_choices, correlated_actions, guess_rollouts
from grasp_ros.planning.objective import goal_distance
from harness.toy_models import ClockworkModel, LinearModel, SmoothModel, problem_for


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run_lengths(actions):
    """Lengths of the runs of equal actions (T, A)."""
    changed = (actions[1:] != actions[:-1]).any(dim=-1).nonzero()[:, 0] + 1
    edges = [0, *changed.tolist(), len(actions)]
    return [end - begin for begin, end in pairwise(edges)]


@pytest.mark.parametrize('size', [1, 2, 7])
def test_proposals_keep_to_bounds_that_are_not_symmetric(size):
    model = SmoothModel(1, (4,), size)
    problem = problem_for(model, 30, batch=2)
    low, high = problem.action_low, problem.action_high
    low -= torch.arange(size)
    high += 3 * torch.arange(size)
    actions = correlated_actions(problem, 50, seeded())
    assert actions.shape == (2, 50, 30, size)
    assert (actions >= low - 1e-12).all()
    assert (actions <= high + 1e-12).all()
    reach = (actions.amax(dim=(0, 1, 2)) - actions.amin(dim=(0, 1, 2))) / (high - low)
    assert (reach > 0.8).all(), 'the whole box is used'


@pytest.mark.parametrize('horizon', [1, 3, 4, 5, 80])
def test_actions_are_held_for_4_to_20_steps(horizon):
    problem = problem_for(LinearModel(), horizon)
    actions = correlated_actions(problem, 200, seeded())[0]
    seen = set()
    for row in actions:
        lengths = run_lengths(row)
        assert sum(lengths) == horizon
        assert all(4 <= length <= 20 for length in lengths[:-1])
        assert lengths[-1] <= 20
        seen.update(lengths[:-1])
    if horizon == 80:
        assert seen == set(range(4, 21))


def test_the_commands_of_an_action_follow_one_another():
    model = SmoothModel(1, (4,), 6)
    problem = replace(problem_for(model, 20, batch=2), frame_skip=3)
    actions = correlated_actions(problem, 50, seeded())
    assert actions.shape == (2, 50, 20, 6)
    for commands in actions[0].reshape(50, 60, 2):
        assert all(4 <= length <= 20 for length in run_lengths(commands)[:-1])
    choices = action_choices(problem, 64)
    assert torch.equal(choices[0], problem.stop_action)
    assert torch.equal(choices[1:, :2], choices[1:, 2:4])
    assert torch.equal(choices[1:, :2], choices[1:, 4:])
    quadrant = (choices[1:, :2] > 0).long() @ torch.tensor([1, 2])
    assert quadrant.bincount(minlength=4).min() >= 12


def test_proposals_derive_from_the_generator_alone():
    problem = problem_for(LinearModel(), 20)
    torch.manual_seed(1)
    first = correlated_actions(problem, 8, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(first, correlated_actions(problem, 8, seeded(5)))
    assert not torch.equal(first, correlated_actions(problem, 8, seeded(6)))
    assert not torch.equal(first[0, 0], first[0, 1])


def test_choices_spread_over_the_box_and_hold_the_stop_action():
    problem = problem_for(LinearModel(), 5, bound=2.0)
    choices = action_choices(problem, 64)
    assert choices.shape == (65, 2)
    assert torch.equal(choices[0], problem.stop_action)
    assert choices.abs().max() <= 2 + 1e-12
    quadrant = (choices[1:] > 0).long() @ torch.tensor([1, 2])
    assert quadrant.bincount(minlength=4).min() >= 12
    assert (choices.abs().amax(dim=1) > 2 - 1e-9).sum() >= 32
    assert torch.equal(choices, action_choices(problem, 64))


def test_the_greedy_rollout_takes_the_best_choice_at_each_step():
    model = LinearModel()
    distance = goal_distance(model)
    problem = problem_for(model, 6, batch=3, bound=0.2)
    choices = action_choices(problem, 40)
    actions, states = guess_rollouts(distance, problem, choices, None)
    assert actions.shape == states.shape == (3, 1, 6, 2)
    for row in range(3):
        state = problem.context[row, -1]
        for step in range(6):
            reached = state + choices
            best = (reached - problem.goal[row]).square().sum(dim=1).argmin()
            assert torch.equal(actions[row, 0, step], choices[best])
            state = reached[best]
            torch.testing.assert_close(states[row, 0, step], state)


def test_the_greedy_rollout_stays_at_the_goal():
    model = LinearModel()
    problem = problem_for(model, 40, bound=0.3)
    _, states = guess_rollouts(goal_distance(model), problem, action_choices(problem, 64), None)
    error = (states[0, 0] - problem.goal).norm(dim=-1)
    assert error[-1] < 0.05
    assert (error[1:] <= error[:-1] + 1e-12).all()


@pytest.mark.parametrize('model', [LinearModel(), SmoothModel(3, (3, 2), 2), ClockworkModel()])
@pytest.mark.parametrize('greedy', [True, False])
def test_given_actions_are_rolled_out_as_they_are(model, greedy):
    problem = problem_for(model, 7, batch=2)
    given = correlated_actions(problem, 3, seeded())
    choices = action_choices(problem, 8) if greedy else None
    actions, states = guess_rollouts(goal_distance(model), problem, choices, given)
    at = int(greedy)
    assert torch.equal(actions[:, at:], given)
    for proposal in range(3):
        alone = rollout(model, problem.context, problem.past_actions, given[:, proposal])
        torch.testing.assert_close(states[:, at + proposal], alone)
    if greedy:
        alone = rollout(model, problem.context, problem.past_actions, actions[:, 0])
        torch.testing.assert_close(states[:, 0], alone)
