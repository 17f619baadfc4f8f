"""The Push-T table: the oracle is the simulator, and what is imagined is told from what is real."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from grasp_ros.benchmark.push_t.__main__ import PICKS, PUSH_T_VARIANTS, main, parse, planners_at
from grasp_ros.benchmark.push_t.oracle import (
    ACTION_SPACE,
    OracleModel,
    action_of,
    ends_of,
    latents_of,
    states_of,
)
from grasp_ros.benchmark.push_t.probe import fit_probe
from grasp_ros.benchmark.push_t.push_t_cells import (
    ORACLE,
    episode_of,
    imagined_share,
    run_subject,
    subject_of,
)
from grasp_ros.benchmark.push_t.push_t_tables import failure_table, paper_tables
from grasp_ros.benchmark.run.cells import Cell
from grasp_ros.benchmark.run.tuning import PUSH_T_GRIDS
from grasp_ros.benchmark.run.variants import ABLATIONS, BASELINES, INITIAL_GUESSES, OWN, VARIANTS
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.checkpoint import save_model
from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.models.protocol import rollout
from grasp_ros.sim.push_t.episodes import PushTSimulation
from grasp_ros.sim.push_t.world import advance, make_state, succeeded

NEAR_BLOCK = make_state([200.0, 290.0], [260.0, 250.0], 0.3)
EASY_SEED = next(
    seed for seed in range(1000, 1100) if not episode_of(seed, 5).moves_block
)


def test_latents_hold_the_whole_state():
    states = episode_of(1001, 5).start[None]
    np.testing.assert_allclose(states_of(latents_of(states))[0, [0, 1, 2, 3, 5, 6, 7, 8, 9]],
                               states[0, [0, 1, 2, 3, 5, 6, 7, 8, 9]], atol=1e-9)
    assert succeeded(states_of(latents_of(states)), states).all()


def test_the_oracle_follows_recorded_commands_to_the_goal():
    episode = episode_of(1001, 8)
    rolled = rollout(
        OracleModel(),
        latents_of(episode.start[None, None]),
        torch.zeros(1, 0, 10, dtype=torch.float64),
        action_of(episode.commands),
    )
    np.testing.assert_allclose(
        rolled[0, -1], latents_of(episode.goal[None])[0], rtol=0, atol=1e-5
    )


def test_the_oracle_is_the_simulator_near_the_block_and_far_from_it():
    rng = np.random.default_rng(0)
    starts = [episode_of(seed, 5).start for seed in range(1000, 1010)]
    states = np.stack([NEAR_BLOCK, *starts])
    commands = rng.normal(0.0, 0.03, (len(states), 5, 2))
    expected = advance(states, commands)[:, -1]
    moved = (expected[:, 2:5] != states[:, 2:5]).any(axis=1)
    assert 0 < moved.sum() < len(states)
    np.testing.assert_array_equal(ends_of(states, commands), expected)


def test_derivatives_of_the_oracle_are_those_of_the_free_agent():
    # Away from everything the agent is a linear system: differences of any size are exact.
    state = make_state([100.0, 100.0], [350.0, 350.0], 0.0)
    latents = latents_of(state[None, None]).requires_grad_()
    actions = torch.full((1, 1, 10), 0.2, dtype=torch.float64, requires_grad=True)
    following = OracleModel().predict(latents, actions)
    of_latents, of_actions = torch.autograd.grad(following[0, 0], [latents, actions])
    commands = ACTION_SPACE.denormalise(actions.detach().numpy()[0])[0]
    pushed = commands.copy()
    pushed[0, 0] += 0.01
    ends = advance(np.stack([state, state]), np.stack([commands, pushed]))[:, -1, 0]
    expected = (ends[1] - ends[0]) / 100.0 / (0.01 / ACTION_SPACE.std[0])
    assert expected > 0.01
    assert of_actions[0, 0, 0] == pytest.approx(expected, rel=1e-6)
    assert of_actions[0, 0, 1] == pytest.approx(0.0, abs=1e-9)
    assert of_latents[0, 0, 0] == pytest.approx(1.0, abs=1e-6)
    assert of_latents[0, 0, 2:6].tolist() == pytest.approx([0.0] * 4, abs=1e-9)


def test_derivatives_see_that_the_agent_pushes_the_block():
    towards = torch.tensor([[[1.0, 0.0] * 5]], dtype=torch.float64, requires_grad=True)
    following = OracleModel().predict(latents_of(NEAR_BLOCK[None, None]), towards)
    (gradient,) = torch.autograd.grad(following[0, 2], [towards])
    assert gradient[0, 0, 0::2].sum() > 0.05


def test_nothing_finite_comes_of_what_is_not_finite():
    latents = latents_of(np.stack([NEAR_BLOCK, NEAR_BLOCK]))[:, None]
    actions = torch.zeros(2, 1, 10, dtype=torch.float64)
    actions[1, 0, 3] = torch.nan
    following = OracleModel().predict(latents, actions)
    assert torch.isfinite(following[0]).all()
    assert torch.isnan(following[1]).all()


def test_episodes_in_closed_loop_end_at_the_first_success_and_whole_plans_at_their_end():
    episode = episode_of(EASY_SEED, 5)
    closed = PushTSimulation(episode, lambda state: state, whole=False)
    whole = PushTSimulation(episode, lambda state: state, whole=True)
    steps = {}
    for one in (closed, whole):
        while not one.ended():
            one.step(episode.commands[one.steps] if one.steps < 25 else np.zeros(2))
        steps[one] = one.steps
        assert one.reached
    assert steps[closed] < steps[whole] == 25


def cell(replan_every):
    return Cell(
        'push_t_oracle', 'cem', 'cem', 5, ORACLE, (EASY_SEED,),
        {'samples': 40, 'rounds': 5, 'elites': 5}, replan_every,
    )


def test_the_oracle_reaches_an_easy_goal(tmp_path):
    subject = subject_of(ORACLE, tmp_path)
    for replan_every in (None, 5):
        (row,) = run_subject(cell(replan_every), subject).episodes
        assert row.reached
        assert row.final_distance_px < 20.0


class MirroredModel(OracleModel):
    """Believes that everything moves the other way."""

    def predict(self, latents, actions):
        return super().predict(latents, -actions)


def test_a_wrong_model_imagines_a_success_that_is_none(tmp_path):
    subject = replace(subject_of(ORACLE, tmp_path), model=MirroredModel())
    (row,) = run_subject(cell(None), subject).episodes
    assert row.imagined
    assert not row.reached


def test_the_recorded_commands_succeed_in_the_imagination_of_a_right_model_only(tmp_path):
    oracle = subject_of(ORACLE, tmp_path)
    seeds = range(1000, 1006)
    assert imagined_share(oracle, seeds, 5) == 1.0
    assert imagined_share(replace(oracle, model=MirroredModel()), seeds, 5) < 0.5


def test_the_probe_reads_poses_from_latents_that_hold_them():
    rng = np.random.default_rng(0)
    states = np.concatenate(
        [rng.uniform(50, 450, (1500, 4)), rng.uniform(-np.pi, np.pi, (1500, 1))], axis=1
    )
    pose = np.concatenate([states[:, :4] / 100, np.cos(states[:, 4:]), np.sin(states[:, 4:])], 1)
    latents = pose @ rng.normal(size=(6, 12))
    probe = fit_probe(latents[:1200], states[:1200], rng)
    assert probe.error(latents[1200:], states[1200:]).within == 1.0
    blind = fit_probe(rng.normal(size=(1200, 12)), states[:1200], rng)
    assert blind.error(latents[1200:], states[1200:]).within < 0.05


@pytest.fixture
def random_model(tmp_path):
    """Folder of a Push-T model with random weights."""
    torch.manual_seed(0)
    model = CompactModel(CompactConfig(action_dim=10, hidden=16, latent_dim=8))
    folder = tmp_path / 'model'
    save_model(
        folder,
        model,
        image={'height': 64, 'width': 64},
        model_dt=0.5,
        frame_skip=5,
        action={
            'kind': ActionKind.RELATIVE, 'names': ['x', 'y'], 'units': ['m', 'm'],
            'low': [-0.04, -0.04], 'high': [0.04, 0.04], 'mean': [0.0, 0.0], 'std': [0.02, 0.02],
        },
        calibration={'one_step_latent': 1.0},
    )
    return folder


def test_command_writes_table_and_plots_and_goes_on(tmp_path, random_model):
    command = [
        '--models', str(random_model), '--planners', 'greedy', 'random_shooting',
        '--horizons', '10', '--episodes', '2', '--timed-episodes', '1', '--workers', '1',
        '--oracle-planners', 'greedy', '--oracle-horizons', '5', '--output', str(tmp_path),
    ]
    assert main(command, probe_episodes=5) == 0
    results = json.loads((tmp_path / 'push_t.json').read_text())
    assert [(row['task'], row['planner'], row['closed_loop']) for row in results['rows']] == [
        ('push_t', 'greedy', False), ('push_t', 'random_shooting', False),
        ('push_t', 'greedy', True), ('push_t', 'random_shooting', True),
        ('push_t_oracle', 'greedy', False),
    ]
    assert [row['horizon'] for row in results['rows']] == [2, 2, 2, 2, 1]
    assert all(row['first_solve_ms'] > 0 for row in results['rows'][:4])
    assert results['probes'][0]['within'] < 1
    assert [entry['horizon'] for entry in results['recorded_commands']] == [2]
    assert len(results['episodes'][0]['final_angle_rad']) == 2
    tables = (tmp_path / 'push_t.md').read_text()
    assert 'H = 10 (T = 2)' in tables
    for name in ('push_t', 'push_t_open_loop', 'push_t_oracle_open_loop'):
        assert (tmp_path / f'{name}.png').stat().st_size > 1000

    def refuse(function, cells, **_):
        for cell in cells:
            pytest.fail(f'a finished cell was run again: {cell}')
        return iter(())

    assert main([*command, '--resume'], execute=refuse) == 0
    again = json.loads((tmp_path / 'push_t.json').read_text())
    assert again['rows'] == results['rows']


def test_tuning_tries_all_settings_on_the_tuning_seeds(tmp_path, random_model):
    command = [
        '--tune', '--models', str(random_model), '--planners', 'random_shooting',
        '--horizons', '10', '--episodes', '2', '--timed-episodes', '1', '--workers', '1',
        '--output', str(tmp_path),
    ]
    assert main(command, probe_episodes=5) == 0
    results = json.loads((tmp_path / 'tuning_push_t.json').read_text())
    assert results['tuning_seeds'] == [100_000, 100_001]
    assert (results['horizon'], len(results['settings'])) == (2, 8)
    assert [setting['picked'] for setting in results['settings']].count(True) == 1
    with pytest.raises(SystemExit):
        main(['--tune', '--models'])


def test_settings_chosen_on_push_t_do_not_change_what_a_row_is_about():
    for name in (*OWN, *ABLATIONS):
        options = PUSH_T_VARIANTS[name].options
        assert {**options, **VARIANTS[name].options} == options
    assert PUSH_T_VARIANTS['grasp, no sync'].options['sync_every'] == 0
    assert PUSH_T_VARIANTS['grasp, published'] == VARIANTS['grasp, published']
    assert PUSH_T_VARIANTS['cem, coloured noise, seeded'].options['noise_beta'] == 2.0


@pytest.mark.parametrize('name', BASELINES)
def test_what_is_compared_on_push_t_was_tried_there(name):
    options = PUSH_T_VARIANTS[name].options
    tried = PUSH_T_GRIDS.get(name) or PUSH_T_GRIDS[VARIANTS[name].planner]
    coloured = {'noise_beta': 2.0} if 'coloured' in name else {}
    assert dict(options) in [{**setting, **coloured} for setting in tried]
    assert PUSH_T_VARIANTS[f'{name}, seeded'].options == {**INITIAL_GUESSES, **options}


def test_the_node_plans_on_push_t_with_what_the_tables_show():
    file = Path(__file__).parents[2] / 'config' / 'push_t.yaml'
    ((_, values),) = yaml.safe_load(file.read_text()).items()
    given = values['ros__parameters']
    own = {name: value for name, value in given.items() if name.startswith('grasp.')}
    assert own == {f'grasp.{name}': value for name, value in PICKS['grasp'].items()}


def test_no_two_rows_have_the_same_settings():
    names = [name for name, _ in planners_at(parse(['--ablations', '--planners', 'grasp']), 40)]
    assert {'grasp', 'grasp, no sync', 'grasp, sync and noise'} <= {*names}
    settings = [(PUSH_T_VARIANTS[name].planner, PUSH_T_VARIANTS[name].options) for name in names]
    assert all(one not in settings[:index] for index, one in enumerate(settings))
    assert 'grasp, latent distance' not in names


def test_horizons_between_model_steps_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(['--horizons', '42'])
    assert 'multiples of 5' in capsys.readouterr().err


def row(planner, success, imagined, time_s):
    return {
        'task': 'push_t', 'planner': planner, 'horizon': 8, 'closed_loop': False,
        'success': success, 'imagined': imagined, 'median_time_s': time_s,
    }


def test_table_shows_real_and_imagined_success_beside_the_published():
    test = {'task': 'push_t', 'second': 'cem', 'horizon': 8, 'closed_loop': False, 'p': 0.01}
    recorded = {'task': 'push_t', 'horizon': 8, 'imagined': 0.8}
    rows = [row('grasp', 0.5, 0.75, 0.05), row('cem', 0.2, 0.9, None)]
    table = paper_tables(rows, [test], [recorded])
    assert '| grasp | 50 / 75; 0.05 |' in table
    assert '| cem | 20 * / 90; - |' in table
    assert '| the recorded commands | 100 / 80; - |' in table
    assert '| published: GRASP | - / 59; 8.5 |' in table


def test_failures_are_laid_to_model_or_planner():
    episodes = {
        'task': 'push_t', 'planner': 'grasp', 'horizon': 8, 'closed_loop': True,
        'reached': [True, False, False, False], 'imagined': [True, True, True, False],
        'moves_block': [False, True, True, True],
    }
    assert '| push_t | grasp | 40 | closed | 1 of 4 | 2 | 1 | 0 of 3 |' in failure_table([episodes])
