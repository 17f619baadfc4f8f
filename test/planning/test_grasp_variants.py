"""Variants of GRASP that only the benchmark has: plans that end early, phases that do."""

from dataclasses import asdict, replace

import pytest
import torch

from grasp_ros.planning.ablations.grasp_variants import (
    GraspAblation,
    GraspAblationConfig,
    end_early,
)
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.objective import goal_distance, rollout_cost
from grasp_ros.planning.sampling import roll_out
from harness.baselines import check
from harness.toy_models import LinearModel, LinearModelWithHead, SmoothModelWithHead, problem_for

SMALL = GraspAblationConfig(
    iterations=6, candidates=3, sync_every=3, state_noise=0.02, greedy_choices=8, proposals=4
)
COLD = replace(SMALL, seed_greedy=False, proposals=0, goal_distance='latent', state_noise=0.0)


def solve(model, problem, config, *, init=None):
    planner = GraspAblation(model, config)
    return planner.plan(problem, init, generator=torch.Generator().manual_seed(0))


def straight(model, speeds, *, distance_away):
    """One problem in which candidates move along x at these speeds for 10 steps."""
    problem = problem_for(model, 10)
    ahead = torch.tensor([[distance_away, 0.0]], dtype=torch.float64)
    problem = replace(problem, goal=problem.context[:, -1] + ahead)
    actions = torch.zeros(1, len(speeds), 10, 2, dtype=torch.float64)
    actions[..., 0] = torch.tensor(speeds, dtype=torch.float64)[:, None]
    distance = goal_distance(model)
    return problem, distance, roll_out(distance, problem, actions, 1.0)


def test_an_overshooting_plan_stops_at_the_goal():
    problem, distance, candidates = straight(LinearModel(), [0.5], distance_away=2.0)
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert found.actions.shape == (1, 1, 10, 2)
    assert (found.actions[0, 0, :4, 0] == 0.5).all()
    assert (found.actions[0, 0, 4:] == problem.stop_action).all()
    torch.testing.assert_close(found.rollout[:, 0, -1], problem.goal)


def test_the_quick_way_is_chosen_although_it_overshoots():
    problem, distance, candidates = straight(LinearModel(), [0.2, 0.5], distance_away=2.0)
    assert candidates.cost.argmin() == 0
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert found.actions[0, 0, 0, 0] == 0.5


def test_at_the_goal_it_stops_at_once():
    problem, distance, candidates = straight(LinearModel(), [0.5], distance_away=0.0)
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert (found.actions == problem.stop_action).all()


def test_time_that_costs_more_than_it_gains_is_not_taken():
    """A step gains 0.5 of distance here."""
    model = LinearModelWithHead()
    problem, distance, candidates = straight(model, [0.5], distance_away=2.0)
    for charge, moving in ((0.4, 4), (0.6, 0)):
        found = end_early(distance, problem, candidates, charge, 1.0)
        assert int((found.actions[0, 0, :, 0] != 0).sum()) == moving


def test_nan_is_not_chosen():
    problem, distance, candidates = straight(LinearModel(), [0.2, 0.5], distance_away=2.0)
    candidates.rollout[:, 1] = float('nan')
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert found.actions[0, 0, 0, 0] == 0.2


def test_a_free_final_time_ends_in_the_stop_action():
    """Ten steps of 0.5 for a way of 2: it must arrive, stop, and stay."""
    model = LinearModelWithHead()
    problem = problem_for(model, 10, bound=0.5)
    ahead = torch.tensor([[1.75, 0.0]]).double()
    problem = replace(problem, goal=problem.context[:, -1] + ahead)
    plan = solve(model, problem, replace(SMALL, free_final_time=True))
    moving = (plan.actions[0] != problem.stop_action).any(dim=-1)
    assert moving[:4].all()
    assert not moving[6:].any()
    assert plan.terminal_cost[0] < 0.4


def test_without_its_options_it_is_the_shipped_planner():
    model = SmoothModelWithHead(3, (3, 2), 2)
    problem = problem_for(model, 7, batch=2)
    shipped = {
        name: value for name, value in asdict(SMALL).items()
        if name in GraspConfig.__dataclass_fields__
    }  # fmt: skip
    planner = GraspPlanner(model, GraspConfig(**shipped))
    plan = planner.plan(problem, generator=torch.Generator().manual_seed(0))
    assert torch.equal(solve(model, problem, SMALL).actions, plan.actions)


@pytest.mark.parametrize(
    'options',
    [
        {'patience': 1, 'iterations': 30},
        {'keep': 0.5, 'candidates': 5, 'iterations': 12},
        {
            'patience': 1, 'keep': 0.5, 'iterations': 14, 'free_final_time': True,
            'action_step': 'gauss_newton', 'sync_kind': 'sweeps', 'max_rows_per_call': 7,
        },
    ],
)  # fmt: skip
@pytest.mark.parametrize('horizon', [1, 7])
def test_a_plan_keeps_its_promises(options, horizon):
    config = replace(SMALL, **options)
    for model in (LinearModelWithHead(), SmoothModelWithHead(3, (3, 2), 2)):
        problem = problem_for(model, horizon, batch=2)
        plan = solve(model, problem, config)
        check(plan, model, problem)
        check(solve(model, problem, config, init=plan), model, problem)


def test_a_solve_ends_when_it_no_longer_gains():
    model = LinearModel()
    problem = problem_for(model, 8)
    patient = replace(COLD, iterations=3000, patience=2)
    first = solve(model, problem, patient)
    assert 6 < first.iterations < 3000
    again = solve(model, problem, replace(patient, least_gain=0.5), init=first)
    assert again.iterations == 6
    assert again.terminal_cost[0] <= first.terminal_cost[0] * 1.05


@pytest.mark.parametrize('iterations', [15, 17])
def test_the_best_of_all_phases_is_kept(iterations):
    """With syncs that do harm: the plan is that of the best phase, not of the last one."""
    model = LinearModelWithHead()
    problem = problem_for(model, 8, batch=2)
    config = replace(COLD, goal_distance='auto', candidates=1, sync_rate=0.8, state_noise=0.0)
    distance = goal_distance(model)

    def costs(**options):
        plan = solve(model, problem, replace(config, **options))
        assert plan.iterations == options['iterations']
        return rollout_cost(distance(plan.rollout, problem.goal[:, None]), config.path_weight)

    ends = [*range(config.sync_every, iterations, config.sync_every), iterations]
    by_phase = torch.stack([costs(iterations=end) for end in ends])
    kept = costs(iterations=iterations, patience=1000)
    torch.testing.assert_close(kept, by_phase.amin(dim=0))
    assert (kept < by_phase[-1] - 0.01).any(), 'the last phase must do harm'


def test_pruning_halves_the_candidates_and_keeps_the_best():
    model = LinearModelWithHead()
    problem = problem_for(model, 8, batch=2)
    config = replace(SMALL, candidates=8, keep=0.5, iterations=15)
    rows = []
    planner = GraspAblation(model, config, lambda done, states, actions: rows.append(len(states)))
    plan = planner.plan(problem, generator=torch.Generator().manual_seed(0))
    # Each phase of three iterations is seen at its start, too.
    assert rows == [2 * 8] * 4 + [2 * 4] * 4 + [2 * 2] * 4 + [2 * 1] * 8
    one = solve(model, problem, replace(config, candidates=1, keep=1.0))
    assert (plan.terminal_cost <= one.terminal_cost + 0.05).all()


@pytest.mark.parametrize('options', [{'patience': 1}, {'keep': 0.5}])
def test_what_counts_syncs_needs_them(options):
    with pytest.raises(ValueError, match='sync_every'):
        GraspAblation(LinearModel(), GraspAblationConfig(**options))
