"""The benchmark compares like with like and writes what it measured."""

import json

import pytest
import torch

from grasp_ros.benchmark.command import main
from grasp_ros.benchmark.run.cells import Cell, CellResult, EpisodeRow
from grasp_ros.benchmark.run.timing import Timing
from grasp_ros.benchmark.run.tuning import GRIDS, PUSH_T_GRIDS, Setting, grid, picks
from grasp_ros.benchmark.run.variants import ABLATIONS, VARIANTS, build, evaluation_seeds, resolved
from grasp_ros.benchmark.speed.iteration import measure_iteration, random_problem
from grasp_ros.benchmark.speed.references import loop_loss
from grasp_ros.benchmark.tables.results import (
    RowData,
    censored_curves,
    key_of,
    mcnemar,
    paired_tests,
    success_interval,
    time_comparison,
)
from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.planning.ablations.grasp_variants import GraspAblation
from grasp_ros.planning.grasp import GraspPlanner
from grasp_ros.planning.objective import goal_distance, lifted_gradients


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


QUICK = ['--horizons', '20', '--episodes', '2', '--workers', '1', '--no-speed']


def refuse(function, cells, **_):
    """Call for no cell: none must be left."""
    for cell in cells:
        pytest.fail(f'a finished cell was run again: {cell}')
    return iter(())


def run(output, *arguments, **injected):
    """The result file of a quick run on two rooms with one door."""
    command = ['--tasks', 'two_room', *QUICK, *arguments, '--output', str(output)]
    assert main(command, **injected) == 0
    return json.loads((output / 'results.json').read_text())


def test_command_writes_results_tables_and_plots(tmp_path):
    results = run(tmp_path, '--planners', 'grasp', 'greedy', '--open-loop', '--models', 'two_room',
                  'two_room')
    rows = results['rows']
    assert [(row['planner'], row['closed_loop']) for row in rows] == [
        ('grasp', True), ('greedy', True), ('grasp', False), ('greedy', False)
    ]
    for row in rows:
        assert row['episodes'] == 4
        assert row['model_seeds'] == 2
        assert row['success'] == pytest.approx(sum(row['success_by_model']) / 2, abs=1e-4)
        assert row['success_ci'][0] <= row['success'] <= row['success_ci'][1]
        assert row['predictor_calls'] > 0
        assert row['replan_ms'] > 0
        assert row['peak_memory_mb'] > 10
    assert results['seeds']['evaluation']['two_room'] == [[1000, 1001], [2000, 2001]]
    assert len(results['models']['two_room'][0]['sha256']) == 64
    assert [(test['second'], test['best_rival']) for test in results['paired']] == 2 * [
        ('greedy', True)
    ]
    assert '**greedy** (best rival)' in (tmp_path / 'tables.md').read_text()
    for name in ('success_two_room.png', 'time_two_room.png'):
        assert (tmp_path / name).stat().st_size > 1000


def test_whole_first_plans_are_compared_without_any_closed_loop(tmp_path, capsys):
    results = run(tmp_path, '--planners', 'grasp', 'greedy', '--open-loop-only')
    assert [(row['planner'], row['closed_loop']) for row in results['rows']] == [
        ('grasp', False), ('greedy', False)
    ]
    for row in results['rows']:
        assert row['first_solve_ms'] > 0
    for name in ('success_two_room_open_loop.png', 'time_two_room_open_loop.png'):
        assert (tmp_path / name).stat().st_size > 1000
    assert not (tmp_path / 'success_two_room.png').exists()
    with pytest.raises(SystemExit):
        main(['--open-loop-only', '--ablations'])
    assert 'closed loops' in capsys.readouterr().err


def test_a_run_goes_on_from_finished_cells(tmp_path):
    arguments = ['--planners', 'greedy', '--timed-episodes', '0']
    first = run(tmp_path, *arguments)
    again = run(tmp_path, *arguments, '--resume', execute=refuse)
    assert again['rows'] == first['rows']


def test_an_interrupted_run_writes_what_it_has(tmp_path):
    def interrupted(function, cells, **_):
        yield 0, function(cells[0])
        raise KeyboardInterrupt

    command = ['--tasks', 'two_room', *QUICK, '--planners', 'greedy', 'grasp']
    assert main([*command, '--output', str(tmp_path)], execute=interrupted) == 130
    results = json.loads((tmp_path / 'results.json').read_text())
    assert [row['planner'] for row in results['rows']] == ['greedy']
    assert results['rows'][0]['replan_ms'] is None


def row_data(name, reached, replan_s, solves=5):
    """A row in closed loop with given successes and times."""
    cell = Cell('two_room', name, 'grasp', 50, 'folder', tuple(range(len(reached))))
    episodes = tuple(
        EpisodeRow(seed, ok, True, 20, 10.0, 50, 1.0, solves, 0)
        for seed, ok in enumerate(reached)
    )
    timing = Timing((0.1,), (replan_s,), 1.0, False)
    return RowData(key_of(cell), [(cell, CellResult(episodes, 1.0, 1.0))], timing)


def test_baselines_are_compared_on_success_first_and_then_on_time():
    rows = [
        row_data('grasp', [True] * 8, 0.02),
        row_data('cem', [True] * 8, 0.04),
        row_data('greedy', [True] * 7 + [False], 0.03),
        row_data('icem', [False] * 8, 0.001),
        row_data('grasp, sync', [True] * 8, 0.001),
    ]
    tests = {test['second']: test for test in paired_tests(rows)}
    assert [name for name, test in tests.items() if test['best_rival']] == ['cem']
    assert (tests['icem']['only_first'], tests['icem']['only_second']) == (8, 0)
    assert tests['icem']['p'] == pytest.approx(2 * 0.5**8)
    (comparison,) = time_comparison(rows)
    # Seven of eight is no significant difference, none of eight is.
    assert comparison['rival'] == 'greedy'
    assert comparison['shipped']['median_time_s'] == pytest.approx(0.1 + 4 * 0.02)
    assert comparison['rival_values']['median_time_s'] == pytest.approx(0.1 + 4 * 0.03)
    curves = {curve['planner']: curve for curve in censored_curves(rows)}
    assert curves['icem']['reached_after_s'] == []
    assert curves['greedy']['reached_after_s'] == pytest.approx([0.22] * 7)
    assert curves['greedy']['episodes'] == 8


def tried(planner, reached, replan_ms, **options):
    return Setting(planner, options, reached, 20, replan_ms, 1.0)


def test_the_quickest_setting_that_is_good_enough_is_picked():
    settings = [
        tried('cem', 20, 90.0, samples=300),
        tried('cem', 18, 30.0, samples=64),
        tried('cem', 18, 40.0, samples=128),
        tried('cem', 17, 10.0, samples=16),
        tried('cem', 19, None, samples=8),
        tried('greedy', 3, 5.0, choices=8),
    ]
    assert picks(settings) == {'cem': {'samples': 64}, 'greedy': {'choices': 8}}


@pytest.mark.parametrize('grids', [GRIDS, PUSH_T_GRIDS], ids=['drawn worlds', 'Push-T'])
def test_every_planner_is_tuned_with_the_same_effort(grids):
    assert {len(settings) for settings in grids.values()} == {8}
    for name, settings in grids.items():
        planner = VARIANTS[name].planner
        assert len({repr(resolved(planner, options)) for options in settings}) == 8


def test_options_of_an_ablation_make_an_ablation(model):
    assert type(build('grasp', model, {})) is GraspPlanner
    for name in ('iterations while they help', '8 candidates halved', 'free final time'):
        options = ABLATIONS[f'grasp, {name}'].options
        planner = build('grasp', model, options)
        assert isinstance(planner, GraspAblation)
        assert planner.config == resolved('grasp', options)
    with pytest.raises(TypeError, match='no_such_option'):
        build('grasp', model, {'no_such_option': 1})
    with pytest.raises(TypeError, match='patience'):
        resolved('cem', {'patience': 1})


def test_a_seeded_baseline_is_tuned_with_the_initial_guesses_of_grasp():
    assert [dict(options) for options in grid('cem, seeded')] == [
        {'seed_greedy': True, 'proposals': 8, **options} for options in grid('cem')
    ]
    # Proposals are all that random shooting has: its own number of them stands.
    assert {options['proposals'] for options in grid('random_shooting, seeded')} > {8 * 2}
    assert grid('grasp, published') == ()


def test_tuning_keeps_off_the_evaluation_seeds(tmp_path):
    arguments = ['--tune', '--tasks', 'two_room', '--planners', 'greedy', '--horizons', '15']
    arguments += ['--episodes', '2', '--workers', '1', '--output', str(tmp_path)]
    assert main(arguments) == 0
    results = json.loads((tmp_path / 'tuning_two_room.json').read_text())
    assert results['tuning_seeds'] == [100_000, 100_001]
    assert [setting['picked'] for setting in results['settings']].count(True) == 1
    assert len(results['settings']) == 8
    with pytest.raises(ValueError, match='below 100000'):
        evaluation_seeds(99, 1)


def test_unknown_model_is_named(tmp_path, capsys):
    arguments = ['--tasks', 'maze', '--models', 'no_such', '--output', str(tmp_path)]
    assert main(arguments) == 2
    assert 'no_such' in capsys.readouterr().err
