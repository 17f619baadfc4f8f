"""Training: its gates, a tiny run, and a run that is interrupted and resumed."""

import json
import signal
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.sim import motion
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.training import command, phases
from grasp_ros.training.command import main, train
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.evaluation.acceptance import (
    AcceptanceThresholds,
    apply_probe,
    fit_probe,
    measure,
)
from grasp_ros.training.on_policy import drive
from grasp_ros.training.recipes import RECIPES, TrainConfig

TINY = TrainConfig(
    episodes=8,
    length=30,
    iterations=6,
    reach_iterations=6,
    decoder_iterations=4,
    manifold_iterations=3,
    batch=4,
    reach_batch=16,
)
PHASES = ('world_model_loss', 'reach_loss', 'decoder_loss', 'denoiser_loss')
GOOD = AcceptanceThresholds(0.1, 1.0, 2.0, 0.99)


def arguments(folder, config=TINY, *more):
    options = [f'--{name.replace("_", "-")}={value}' for name, value in asdict(config).items()]
    return [f'--output={folder / "model"}', f'--work={folder / "work"}', *options, *more]


@pytest.fixture
def few_held_out(monkeypatch):
    """Measure the gates on few episodes."""

    def record(config, layouts, episodes, *rest):
        return original(config, min(layouts, 2), min(episodes, 8), *rest)

    original = command.record
    monkeypatch.setattr(command, 'record', record)


@pytest.fixture
def no_gates(monkeypatch):
    """Do not measure the gates."""
    monkeypatch.setattr(command, 'measure', lambda *_: GOOD)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


# Gates.


def test_a_probe_reads_what_is_linear():
    latents = torch.randn(200, 8)
    pixels = latents.double().numpy() @ np.ones((8, 2)) + [3.0, 7.0]
    probe = fit_probe(latents, pixels)
    assert apply_probe(probe, latents) == pytest.approx(pixels, abs=1e-4)
    assert apply_probe(probe, latents.unflatten(0, (20, 10))).shape == (20, 10, 2)


def test_gates_name_what_is_missed():
    assert GOOD.failures() == []
    assert AcceptanceThresholds(0.5, 3.0, 4.0, 0.95).failures() == []
    assert AcceptanceThresholds(1.2, 3.0, 4.0, 0.95).failures(probe_limit_px=1.5) == []
    assert len(AcceptanceThresholds(0.6, 3.1, 4.1, 0.94).failures()) == 4
    assert len(AcceptanceThresholds(*[float('nan')] * 4).failures()) == 4
    assert 'open_loop_50_px is 4.10' in AcceptanceThresholds(0.1, 1.0, 4.1, 0.99).failures()[0]


def test_the_committed_model_meets_its_gates_on_fresh_motion():
    model, manifest = load_model(find_model('two_room'))
    world, std = TwoRooms(), manifest.action.std[0]
    fit = MotionDataset([world], motion.collect(world, 50, 50, 9001), std)
    held_out = MotionDataset([world], motion.collect(world, 50, 50, 9002), std)
    assert measure(model, fit, held_out, seed=9003).failures() == []


@pytest.mark.slow
@pytest.mark.parametrize('task', ['two_room_drawn_door', 'maze'])
def test_the_committed_models_of_drawn_worlds_meet_their_gates_in_new_ones(task):
    model, manifest = load_model(find_model(task))
    config, std = RECIPES[task], manifest.action.std[0]
    fit = command.record(config, 20, 100, 50, 9001, std)
    held_out = command.record(config, 20, 100, 50, 9002, std)
    gates = measure(model, fit, held_out, seed=9003)
    assert gates.failures(config.probe_limit_px) == []


# Runs.


def test_a_tiny_run_writes_a_model_that_loads(tmp_path, few_held_out, capsys):
    assert main(arguments(tmp_path)) == 1
    printed = capsys.readouterr()
    assert 'gate missed: probe_px' in printed.err
    assert 'probe_px' in printed.out
    model, manifest = load_model(tmp_path / 'model')
    assert manifest.control_rate == pytest.approx(10.0)
    assert manifest.training['config']['episodes'] == TINY.episodes
    assert manifest.action.std[0] == pytest.approx(
        motion.collect(TwoRooms(), TINY.episodes, TINY.length, TINY.seed).actions.std()
    )
    assert manifest.calibration.one_step_latent > 0
    assert model.mean_image.std() > 0, 'centred by the training pictures'


@pytest.mark.parametrize('task', ['two_room_drawn_door', 'maze'])
def test_a_tiny_run_on_drawn_worlds_writes_a_model_that_loads(task, tmp_path, few_held_out):
    tiny = replace(
        RECIPES[task], layouts=2, reach_graphs=min(2, RECIPES[task].reach_graphs), **{
            name: getattr(TINY, name)
            for name in ('episodes', 'length', 'iterations', 'reach_iterations', 'batch')
        }
    )  # fmt: skip
    tiny = replace(tiny, decoder_iterations=2, manifold_iterations=2, reach_batch=16)
    if tiny.on_policy_episodes:
        tiny = replace(
            tiny, on_policy_episodes=4, finetune_iterations=2, predictor_iterations=2
        )
    options = [value for value in arguments(tmp_path, tiny) if not value.startswith('--task')]
    assert main([f'--task={task}', *options]) == 1
    model, manifest = load_model(tmp_path / 'model')
    assert manifest.training['task'] == task
    assert manifest.training['config']['layouts'] == 2
    assert model.latent_shape == (RECIPES[task].latent_dim,)


def test_a_round_of_on_policy_data_finetunes_the_model(tmp_path, no_gates):
    tiny = replace(TINY, on_policy_episodes=4, finetune_iterations=3)
    assert main(arguments(tmp_path / 'driven', tiny)) == 0
    assert main(arguments(tmp_path / 'plain')) == 0
    driven, plain = (load_model(tmp_path / name / 'model')[0] for name in ('driven', 'plain'))
    assert not same(weights(driven.encoder), weights(plain.encoder))
    assert not same(weights(driven.reach_embedding), weights(plain.reach_embedding))


def test_a_driven_robot_approaches_its_goals():
    model, manifest = load_model(find_model('two_room'))
    world, std = TwoRooms(), manifest.action.std[0]
    driven = drive(model, [world, world], 10, 60, 0, std)
    assert driven.layouts == 2
    assert driven.actions.shape == (20, 60, 2)
    assert np.abs(driven.actions).max() <= world.max_speed + 1e-6
    assert world.is_free(driven.positions / 0.05).all()
    moved = np.linalg.norm(driven.positions[:, -1] - driven.positions[:, 0], axis=-1)
    assert np.median(moved) > 0.3
    again = drive(model, [world, world], 10, 60, 0, std)
    np.testing.assert_array_equal(driven.positions, again.positions)


def test_a_finished_run_is_not_repeated(tmp_path, no_gates, monkeypatch):
    assert main(arguments(tmp_path)) == 0
    before = weights(load_model(tmp_path / 'model')[0])
    for phase in PHASES:
        monkeypatch.setattr(phases, phase, None)
    assert main(arguments(tmp_path)) == 0
    assert same(before, weights(load_model(tmp_path / 'model')[0]))


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """Weights of a tiny run in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'measure', lambda *_: GOOD)
        return weights(train(TINY, tmp_path_factory.mktemp('uninterrupted'))[0])


@pytest.mark.parametrize('phase', PHASES)
def test_an_interrupted_run_resumes_to_the_same_weights(
    phase, tmp_path, monkeypatch, no_gates, uninterrupted, capsys
):
    original = getattr(phases, phase)
    calls = 0

    def interrupting(*args):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(phases, phase, interrupting)
    assert main(arguments(tmp_path)) == 130
    assert 'resumes' in capsys.readouterr().err
    assert not (tmp_path / 'model').exists()
    (tmp_path / 'work' / 'seconds.txt').write_text('600')
    calls = 10
    torch.manual_seed(99)
    assert main(arguments(tmp_path)) == 0
    minutes = load_model(tmp_path / 'model')[1].training['minutes']
    assert 10 <= minutes < 12, 'the time before the interruption counts'
    assert same(uninterrupted, weights(load_model(tmp_path / 'model')[0]))


def test_ctrl_c_within_an_optimiser_step_does_no_harm(
    tmp_path, monkeypatch, no_gates, uninterrupted
):
    original = torch.optim.AdamW.step
    calls = 0

    def step(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        result = original(self, *args, **kwargs)
        if calls == 4:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    assert main(arguments(tmp_path)) == 130
    assert calls == 4
    assert main(arguments(tmp_path)) == 0
    assert same(uninterrupted, weights(load_model(tmp_path / 'model')[0]))


@pytest.mark.parametrize(
    'name', ['seed', 'episodes', 'length', 'iterations', 'reach_iterations', 'batch']
)
def test_changed_settings_are_refused_with_old_progress(name, tmp_path, no_gates, capsys):
    work = tmp_path / 'work'
    work.mkdir()
    earlier = asdict(TINY)
    (work / 'settings.json').write_text(json.dumps(earlier))
    changed = replace(TINY, **{name: earlier[name] + 1})
    assert main(arguments(tmp_path, changed)) == 2
    message = capsys.readouterr().err
    assert f'{name} {earlier[name]} (now {earlier[name] + 1})' in message
    assert '--restart' in message
    assert str(work) in message


def test_restart_forgets_old_progress(tmp_path, no_gates):
    assert main(arguments(tmp_path)) == 0
    changed = replace(TINY, seed=5)
    assert main(arguments(tmp_path, changed)) == 2
    assert main(arguments(tmp_path, changed, '--restart')) == 0
    _, manifest = load_model(tmp_path / 'model')
    assert manifest.training['config']['seed'] == 5
