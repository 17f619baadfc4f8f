"""Trials side by side: frames, published actions and commands reach the planner as they were."""

import numpy as np
import pytest
import torch

from grasp_ros.benchmark.run.trials import Setup, TrialRunner
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.limits import Limits
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import Plan
from harness.toy_models import ClockworkModel, LinearModel


class CountingEpisode:
    """It observes the number of control periods so far; it ends after some."""

    def __init__(self, periods):
        self.goal_image = 1000
        self.commands = []
        self.periods = periods

    def observe(self):
        return len(self.commands)

    def step(self, command):
        self.commands.append(float(command[0]))

    def ended(self):
        return len(self.commands) >= self.periods


class ScriptedPlanner:
    """Gives the n-th plan the actions 10 n, 10 n + 1, .. and keeps what it was asked."""

    def __init__(self, model):
        self.distance = GoalDistance(model, 'latent')
        self.problems = []
        self.starts = []

    def plan(self, problem, init=None, *, generator, deadline_s=None):
        self.problems.append(problem)
        self.starts.append(init)
        count = problem.horizon * len(problem.action_low)
        actions = 10.0 * len(self.problems) + torch.arange(count, dtype=torch.float64)
        states = torch.zeros(problem.batch, problem.horizon, *problem.goal.shape[1:]).double()
        shaped = actions.reshape(1, problem.horizon, -1).expand(problem.batch, -1, -1)
        cost = torch.zeros(problem.batch).double()
        return Plan(shaped, states, states, cost, cost, 1, 0.25)


def runner(model, skip, delay=0):
    """A runner of a one-component action space without normalisation."""
    space = ActionSpace(
        ActionKind.RELATIVE, ('x',), ('m',), np.full(1, -99.0), np.full(1, 99.0), np.zeros(1),
        np.ones(1), skip,
    )
    planner = ScriptedPlanner(model)
    setup = Setup(
        model,
        planner,
        ControllerConfig(horizon=3, horizon_mode='fixed', model_dt=0.5),
        space,
        Limits(space.low, space.high, np.full(1, np.inf)),
        lambda counts: torch.tensor([[count, 0.0] for count in counts], dtype=torch.float64),
        delay,
    )
    return TrialRunner(setup), planner


def test_a_model_that_looks_back_gets_past_frames_and_the_actions_between():
    model = ClockworkModel()
    driven, planner = runner(model, skip=1)
    trial = CountingEpisode(5)
    driven.run([trial], 2)
    assert trial.commands == [10.0, 11.0, 20.0, 21.0, 30.0]
    contexts = [problem.context[0, :, 0].tolist() for problem in planner.problems]
    assert contexts == [[0, 0, 0], [0, 1, 2], [2, 3, 4]]
    actions = [problem.past_actions[0, :, 0].tolist() for problem in planner.problems]
    assert actions == [[0, 0], [10, 11], [20, 21]]


def test_plans_of_several_commands_a_step_are_executed_and_shifted_by_steps():
    model = LinearModel(control=torch.zeros(2, 2).double())
    driven, planner = runner(model, skip=2)
    first, second = CountingEpisode(6), CountingEpisode(3)
    runs = driven.run([first, second], 4)
    assert first.commands == [10, 11, 12, 13, 20, 21]
    assert second.commands == [10, 11, 12]
    # The first trial's plan of 3 steps after 2 of them: its last step, then standing.
    assert planner.starts[1].actions.tolist() == [[[14, 15], [0, 0], [0, 0]]]
    assert [run.solve_times_s for run in runs] == [(0.25, 0.25), (0.25,)]


def test_whole_plans_are_executed_to_their_end_and_then_it_stands():
    driven, planner = runner(LinearModel(control=torch.zeros(2, 2).double()), skip=2)
    trial = CountingEpisode(8)
    driven.run([trial], None)
    assert trial.commands == [10, 11, 12, 13, 14, 15, 0, 0]
    assert len(planner.problems) == 1


def test_a_trial_is_given_up_when_its_solves_take_too_long():
    driven, _ = runner(LinearModel(control=torch.zeros(2, 2).double()), skip=2)
    trial = CountingEpisode(100)
    (run,) = driven.run([trial], 2, most_solving_s=0.6)
    assert run.cut
    assert len(run.solve_times_s) == 3


def test_replans_in_the_middle_of_a_model_step_are_refused():
    driven, _ = runner(LinearModel(control=torch.zeros(2, 2).double()), skip=2)
    with pytest.raises(ValueError, match='replan_every is 3'):
        driven.run([CountingEpisode(4)], 3)


def test_a_delay_needs_one_command_a_step():
    with pytest.raises(ValueError, match='delay'):
        runner(LinearModel(control=torch.zeros(2, 2).double()), skip=2, delay=1)
