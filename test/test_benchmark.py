"""The benchmark compares like with like and writes what it measured."""

import json

import pytest
import torch

from grasp_ros.benchmark.command import main
from grasp_ros.benchmark.per_step_loop import loop_loss
from grasp_ros.benchmark.speed import measure_iteration, random_problem
from grasp_ros.benchmark.statistics import mcnemar, success_interval
from grasp_ros.core.objective import goal_distance, lifted_gradients
from grasp_ros.models.compact import CompactConfig, CompactModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CompactModel(CompactConfig()).double().requires_grad_(False)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
def test_loop_and_batched_iteration_have_the_same_losses(model, kind):
    distance = goal_distance(model, kind)
    problem = random_problem(model, candidates=3, horizon=12, seed=1)
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(3, 12, 32, dtype=torch.float64, generator=generator)
    actions = torch.randn(3, 12, 2, dtype=torch.float64, generator=generator)
    if kind == 'latent':
        states[:, -1] = problem.goal
    batched = lifted_gradients(distance, problem, states, actions, goal_weight=0.5)
    states.requires_grad_()
    actions.requires_grad_()
    loop = loop_loss(distance, problem, states, actions, goal_weight=0.5)
    loop.sum().backward()
    torch.testing.assert_close(batched.loss, loop.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(batched.actions, actions.grad, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(batched.states[:, :-1], states.grad[:, :-1], rtol=1e-5, atol=1e-12)


def test_speed_rows_say_what_was_measured(model):
    row = measure_iteration('toy', goal_distance(model, 'latent'), horizon=5, candidates=2)
    assert (row.horizon, row.candidates, row.goal_distance) == (5, 2, 'latent')
    assert row.ratio == pytest.approx(row.per_step_loop_ms / row.iteration_ms, rel=0.01)


def test_success_interval_holds_the_rate():
    low, high = success_interval(9, 10)
    assert 0.5 < low < 0.9 < high < 1.0
    assert success_interval(10, 10)[1] == pytest.approx(1.0)


def test_mcnemar_counts_the_episodes_that_differ():
    assert mcnemar([True, False], [True, False]) == 1.0
    assert mcnemar([True] * 6, [False] * 6) == pytest.approx(2 * 0.5**6)
    with pytest.raises(ValueError, match='2 and 1 episodes'):
        mcnemar([True, True], [True])


def test_command_writes_results_tables_and_plots(tmp_path):
    arguments = ['--planners', 'greedy', 'grasp, no lifted iterations', '--horizons', '20']
    arguments += ['--episodes', '2', '--seed', '3000', '--workers', '1', '--no-speed']
    assert main([*arguments, '--output', str(tmp_path)]) == 0
    results = json.loads((tmp_path / 'results.json').read_text())
    assert [row['planner'] for row in results['rows']] == ['greedy', 'grasp, no lifted iterations']
    for row in results['rows']:
        assert row['episodes'] == 2
        assert 0.0 <= row['success'] <= 1.0
        assert row['predictor_calls'] > 0
        assert row['closed_loop'] is True
    assert results['seeds']['evaluation'] == [3000, 3001]
    assert 'greedy' in (tmp_path / 'tables.md').read_text()
    assert (tmp_path / 'success.png').stat().st_size > 1000


def test_unknown_task_is_named(tmp_path, capsys):
    assert main(['--task', 'no_such', '--no-speed', '--output', str(tmp_path)]) == 2
    assert 'no_such' in capsys.readouterr().err
