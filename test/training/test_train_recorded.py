"""Training from recorded data: windows, early stop, a model that learns, errors before the work."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from grasp_ros.messages.images import read_image
from grasp_ros.models.checkpoint import load_model
from grasp_ros.training.command import main
from grasp_ros.training.data.dataset import draw_windows, frame_numbers
from grasp_ros.training.evaluation.acceptance import Evaluation, effective_rank, evaluate
from grasp_ros.training.loop import EarlyStop, run_phase, tensorboard_log
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all
from grasp_ros.training.losses.world_model import target_steps
from harness.recorded import write_dots

TINY = [
    '--iterations=4', '--reach-iterations=4', '--decoder-iterations=2', '--batch=4', '--span=8',
    '--manifold-iterations=2', '--predictor-iterations=2', '--reach-batch=16', '--channels=4',
    '--latent-dim=8', '--hidden=32', '--keypoints=4',
]  # fmt: skip


def arguments(folder, *more):
    return [
        f'--recorded={folder / "data"}', f'--output={folder / "model"}',
        f'--work={folder / "work"}', *TINY, *more,
    ]  # fmt: skip


# Windows.


def test_windows_are_uniform_over_all_that_fit():
    lengths = np.array([2, 10, 5])
    episodes, start = draw_windows(lengths, 4, 20000, np.random.default_rng(0))
    counts = dict.fromkeys([*((1, s) for s in range(7)), (2, 0), (2, 1)], 0)
    for pair in zip(episodes.tolist(), start.tolist(), strict=True):
        counts[pair] += 1
    assert min(counts.values()) > 0.9 * 20000 / len(counts)


def test_windows_that_fit_nowhere_are_refused():
    with pytest.raises(ValueError, match=r'windows of 11 steps .* longest episode has 10'):
        draw_windows(np.array([2, 10]), 11, 1, np.random.default_rng(0))


def test_frames_are_numbered_episode_after_episode():
    episodes, steps = frame_numbers(np.array([2, 1]))
    assert (episodes.tolist(), steps.tolist()) == ([0, 0, 0, 1, 1], [0, 1, 2, 0, 1])
    episodes, steps = frame_numbers(np.array([4, 3]), stride=2)
    assert (episodes.tolist(), steps.tolist()) == ([0, 0, 0, 1, 1], [0, 2, 4, 0, 2])


@pytest.mark.parametrize(
    ('span', 'steps'), [(25, [1, 2, 4, 8, 16, 25]), (16, [1, 2, 4, 8, 16]), (2, [1, 2])]
)
def test_rollouts_are_compared_at_powers_of_two_and_at_their_end(span, steps):
    assert target_steps(span).tolist() == steps


def test_fast_commands_count_as_fractions_of_the_fastest(tmp_path):
    dataset = write_dots(tmp_path / 'data', [40, 60], skip=2)
    fractions = dataset.command_fractions()
    assert fractions.shape == (102, 2)
    assert (fractions[[40, 101]] == 0).all(), 'after the last frame nothing is commanded'
    assert 0.02 < (np.abs(fractions) > 1).mean() < 0.06


def test_of_positions_the_change_counts(tmp_path):
    dataset = write_dots(tmp_path / 'data', [40], kind='position')
    fractions = dataset.command_fractions()
    assert (fractions[1:4] == 0).all(), 'the same command four times'
    assert (fractions[4] != 0).all()


# Early stop.


def falling_then_rising(folder, turn, patience, iterations=4000):
    """Train a number that grows by about one an iteration; the held-out loss is least at `turn`."""
    number = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(number.weight)
    stop = EarlyStop(lambda: abs(number.weight.item() - turn), patience, every=10)
    run_phase(
        'phase', number, lambda rng: {'total': -number.weight.sum()}, iterations,
        learning_rate=1.0, seed=0, folder=folder, early_stop=stop,
    )  # fmt: skip
    return number.weight.item(), torch.load(folder / 'phase.pt')['done']


def test_a_phase_ends_without_gain_and_goes_back_to_its_best_weights(tmp_path):
    weight, done = falling_then_rising(tmp_path, 100.0, patience=3)
    assert weight == pytest.approx(100.0, abs=10)
    assert done < 400
    again, done_again = falling_then_rising(tmp_path, 100.0, patience=3)
    assert (again, done_again) == (weight, done), 'a phase that stopped early is finished'


def test_a_phase_that_gains_to_its_end_is_not_cut(tmp_path):
    _, done = falling_then_rising(tmp_path, 1e9, patience=3, iterations=200)
    assert done == 200


# Evaluation.


def test_the_effective_rank_counts_directions():
    spread = torch.randn(5000, 6, generator=torch.Generator().manual_seed(0))
    assert effective_rank(spread) == pytest.approx(6, abs=0.02)
    assert effective_rank(spread[:, :1].expand(-1, 6)) == pytest.approx(1, abs=0.01)


class Perfect:
    """A model whose latents are places, moved by the action."""

    history = 1

    def predict(self, latents, actions):
        return latents[:, -1] + 0.5 * actions[:, -1]

    def time_to_reach(self, latents, goal):
        return (latents - goal).abs().amax(dim=-1)


class Straight:
    """Episodes in which each action moves by half of itself along a line."""

    def actions(self, episodes, start, count):
        return torch.ones(len(episodes), count, 2)


def test_a_perfect_model_has_no_open_loop_error():
    places = 0.5 * torch.arange(31.0)[None, :, None].expand(40, -1, 2)
    latents = EpisodeLatents.of(places)
    judged = evaluate(Perfect(), latents, Straight(), np.random.default_rng(0))
    assert judged.horizon == list(range(1, 31))
    assert max(judged.open_loop) < 1e-5
    deviation = float(places[..., 0].flatten().std())
    assert judged.no_change[-1] == pytest.approx(15 / deviation, rel=1e-3)
    assert judged.reach_rank_correlation == pytest.approx(1.0)
    assert any('effective_rank' in failure for failure in judged.failures()), 'it is a line'


def test_useless_models_are_named():
    good = Evaluation([1, 2], [0.1, 0.2], [0.3, 0.5], 1.0, 8.0, 0.9)
    assert good.failures() == []
    bad = Evaluation([1, 2], [0.1, 0.6], [0.3, 0.5], 0.01, 1.2, 0.9)
    assert [word in ' '.join(bad.failures()) for word in ('latent_std', 'rank', 'no change')] == [
        True, True, True
    ]  # fmt: skip


# Runs.


@pytest.mark.parametrize('size', [32, 96])
def test_a_tiny_run_writes_a_model_that_loads(tmp_path, size, capsys):
    dataset = write_dots(tmp_path / 'data', [40, 20, 9] * 12, size=size, skip=3)
    assert main(arguments(tmp_path, '--precision=bfloat16')) in (0, 1)
    model, manifest = load_model(tmp_path / 'model')
    assert model.config.image_size == manifest.image.height == size
    assert model.action_dim == 6
    assert manifest.frame_skip == 3
    assert manifest.control_rate == pytest.approx(10.0)
    assert manifest.training['dataset']['dataset_steps'] == dataset.lengths.sum()
    assert manifest.calibration.latent is not None
    said = capsys.readouterr().out
    assert 'no limits of the commands are given' in said
    assert -1 <= manifest.action.low[0] < -0.9
    report = (tmp_path / 'model' / 'report.md').read_text()
    for image in re.findall(r'\((\w+\.png)\)', report):
        assert read_image(tmp_path / 'model' / image).shape[1] > 96
    assert len(re.findall(r'\.png', report)) == 3


def test_loss_terms_go_to_tensorboard_where_it_is_installed(tmp_path, monkeypatch):
    written = {}

    class Writer:
        def __init__(self, folder):
            written['folder'] = folder

        def add_scalar(self, name, value, iteration):
            written[name, iteration] = value

        def flush(self):
            pass

    monkeypatch.setitem(
        sys.modules, 'torch.utils.tensorboard', SimpleNamespace(SummaryWriter=Writer)
    )
    log = tensorboard_log(tmp_path)
    log('world_model', 50, {'total': 2.0, 'rollout': 1.5})
    assert written == {
        'folder': str(tmp_path), ('world_model/total', 50): 2.0, ('world_model/rollout', 50): 1.5,
    }  # fmt: skip


def test_a_missing_tensorboard_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    write_dots(tmp_path / 'data', [30] * 20)
    assert main(arguments(tmp_path, '--tensorboard')) == 2
    assert 'pip install tensorboard' in capsys.readouterr().err


def test_limits_that_are_given_become_those_of_the_model(tmp_path, capsys):
    write_dots(tmp_path / 'data', [30] * 20, low=[-2, -2], high=[2, 2])
    main(arguments(tmp_path))
    assert load_model(tmp_path / 'model')[1].action.high == [2, 2]
    assert 'warning' not in capsys.readouterr().out


def test_an_interrupted_run_resumes_on_the_same_data_only(tmp_path, capsys):
    write_dots(tmp_path / 'data', [30] * 20)
    main(arguments(tmp_path))
    main(arguments(tmp_path))
    write_dots(tmp_path / 'more', [30] * 21)
    changed = [*arguments(tmp_path), f'--recorded={tmp_path / "more"}']
    assert main(changed) == 2
    assert 'dataset_episodes 20 (now 21)' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('lengths', 'options', 'fault'),
    [
        ([30] * 5, {}, 'too little data'),
        ([7] * 100, {}, 'longest episode has 7 steps'),
        ([30] * 20, {'size': 40}, 'multiple of 16'),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(tmp_path, lengths, options, fault, capsys):
    write_dots(tmp_path / 'data', lengths, **options)
    assert main(arguments(tmp_path)) == 2
    assert fault in capsys.readouterr().err


def test_options_of_simulated_tasks_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, '--layouts=3'))
    assert '--layouts: of simulated tasks only' in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_learns_where_the_dot_goes(tmp_path):
    dataset = write_dots(tmp_path / 'data', [40] * 100)
    more = [
        '--iterations=400', '--reach-iterations=300', '--predictor-iterations=300', '--batch=16',
        '--reach-batch=128', '--hidden=128', '--channels=8', '--keypoints=8',
    ]  # fmt: skip
    assert main(arguments(tmp_path, *more)) == 0
    model, _ = load_model(tmp_path / 'model')
    judged = evaluate(model, encode_all(model, dataset), dataset, np.random.default_rng(0))
    assert judged.open_loop[9] < 0.5 * judged.no_change[9]
    assert judged.reach_rank_correlation > 0.6
