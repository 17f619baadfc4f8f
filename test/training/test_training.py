"""Training in simulation: acceptance, a tiny run, and a run that is interrupted and resumed."""

import json
import re
import signal
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from grasp_ros.messages.images import read_image
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.sim import motion
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.training.command import main
from grasp_ros.training.data.simulated import MotionDataset, drive, record
from grasp_ros.training.data.training_data import SimulatedData
from grasp_ros.training.evaluation.acceptance import (
    Acceptance,
    apply_probe,
    fit_probe,
    measure_acceptance,
)
from grasp_ros.training.pipeline import train_phases
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
STEPS = TINY.iterations, TINY.reach_iterations, TINY.decoder_iterations, TINY.manifold_iterations
"""Optimiser steps of the phases, in order."""
NOT_ACCEPTABLE = 1
"""Exit status of a run whose model was written, but is no good after so few iterations."""
GOOD = Acceptance(0.1, 1.0, 2.0, 0.99)


def arguments(folder, config=TINY, *more):
    options = [f'--{name.replace("_", "-")}={value}' for name, value in asdict(config).items()]
    return [f'--output={folder / "model"}', f'--work={folder / "work"}', *options, *more]


def run(folder, config=TINY, *more):
    """Train, and judge by few episodes."""
    few = partial(SimulatedData, layouts=2, fitted=8, judged=8)
    return main(arguments(folder, config, *more), few)


@contextmanager
def before_every_optimiser_step(hook):
    """Call hook(number of the step), with gradients made and weights not yet changed."""
    steps = iter(range(1, 10000))
    handle = register_optimizer_step_pre_hook(lambda *_: hook(next(steps)))
    try:
        yield
    finally:
        handle.remove()


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


# Acceptance.


def test_a_probe_reads_what_is_linear():
    latents = torch.randn(200, 8)
    pixels = latents.double().numpy() @ np.ones((8, 2)) + [3.0, 7.0]
    probe = fit_probe(latents, pixels)
    assert apply_probe(probe, latents) == pytest.approx(pixels, abs=1e-4)
    assert apply_probe(probe, latents.unflatten(0, (20, 10))).shape == (20, 10, 2)


def test_missed_thresholds_are_named():
    assert GOOD.failures() == []
    assert Acceptance(0.5, 3.0, 4.0, 0.95).failures() == []
    assert Acceptance(1.2, 3.0, 4.0, 0.95).failures(probe_limit_px=1.5) == []
    assert len(Acceptance(0.6, 3.1, 4.1, 0.94).failures()) == 4
    assert len(Acceptance(*[float('nan')] * 4).failures()) == 4
    assert 'open_loop_50_px is 4.10' in Acceptance(0.1, 1.0, 4.1, 0.99).failures()[0]


def test_the_committed_model_is_acceptable_on_fresh_motion():
    model, manifest = load_model(find_model('two_room'))
    world, std = TwoRooms(), manifest.action.std[0]
    fit = MotionDataset([world], motion.collect(world, 50, 50, 9001), std)
    held_out = MotionDataset([world], motion.collect(world, 50, 50, 9002), std)
    assert measure_acceptance(model, fit, held_out, seed=9003).failures() == []


@pytest.mark.slow
@pytest.mark.parametrize('task', ['two_room_drawn_door', 'maze'])
def test_the_committed_models_of_drawn_worlds_are_acceptable_in_new_ones(task):
    model, manifest = load_model(find_model(task))
    config, std = RECIPES[task], manifest.action.std[0]
    fit = record(config, 20, 100, 50, 9001, std)
    held_out = record(config, 20, 100, 50, 9002, std)
    measured = measure_acceptance(model, fit, held_out, seed=9003)
    assert measured.failures(config.probe_limit_px) == []


# Runs.


def test_a_tiny_run_writes_a_model_that_loads(tmp_path, capsys):
    assert run(tmp_path) == NOT_ACCEPTABLE
    printed = capsys.readouterr()
    assert 'not acceptable: probe_px' in printed.err
    assert 'probe_px' in printed.out
    model, manifest = load_model(tmp_path / 'model')
    assert manifest.control_rate == pytest.approx(10.0)
    assert manifest.training['config']['episodes'] == TINY.episodes
    assert manifest.action.std[0] == pytest.approx(
        motion.collect(TwoRooms(), TINY.episodes, TINY.length, TINY.seed).actions.std()
    )
    assert manifest.calibration.one_step_latent > 0
    report = (tmp_path / 'model' / 'report.md').read_text()
    assert '# World model of two_room' in report
    assert '| probe_px |' in report
    for failure in re.findall('not acceptable: (.*)', printed.err):
        assert failure in report
    for image in ('reconstructions.png', 'imagined.png'):
        assert read_image(tmp_path / 'model' / image).shape[1] > 96
    assert model.mean_image.std() > 0, 'centred by the training images'


@pytest.mark.parametrize('task', ['two_room_drawn_door', 'maze'])
def test_a_tiny_run_on_drawn_worlds_writes_a_model_that_loads(task, tmp_path):
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
    assert run(tmp_path, tiny) == NOT_ACCEPTABLE
    model, manifest = load_model(tmp_path / 'model')
    assert manifest.training['task'] == task
    assert manifest.training['config']['layouts'] == 2
    assert model.latent_shape == (RECIPES[task].latent_dim,)


def test_a_round_of_on_policy_data_finetunes_the_model(tmp_path, uninterrupted):
    tiny = replace(TINY, on_policy_episodes=4, finetune_iterations=3)
    driven, _ = train_phases(tiny, SimulatedData(tiny), tmp_path)
    for part in ('encoder.', 'reach_embedding.'):
        assert any(
            not torch.equal(value, uninterrupted[name])
            for name, value in weights(driven).items()
            if name.startswith(part)
        )


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


def test_a_finished_run_is_not_repeated(tmp_path):
    steps = []
    with before_every_optimiser_step(steps.append):
        assert run(tmp_path) == NOT_ACCEPTABLE
        assert len(steps) == sum(STEPS)
        before = weights(load_model(tmp_path / 'model')[0])
        assert run(tmp_path) == NOT_ACCEPTABLE
    assert len(steps) == sum(STEPS), 'no step was made again'
    assert same(before, weights(load_model(tmp_path / 'model')[0]))


def trained(work):
    """Weights after all phases, resuming from the folder `work`."""
    work.mkdir(exist_ok=True)
    return weights(train_phases(TINY, SimulatedData(TINY), work)[0])


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """Weights of a tiny run in one go."""
    return trained(tmp_path_factory.mktemp('uninterrupted'))


@pytest.mark.parametrize('phase', range(len(STEPS)))
def test_an_interrupted_phase_resumes_to_the_same_weights(phase, tmp_path, uninterrupted):
    third = sum(STEPS[:phase]) + 3

    def interrupt(step):
        if step == third:
            raise KeyboardInterrupt

    with before_every_optimiser_step(interrupt), pytest.raises(KeyboardInterrupt):
        trained(tmp_path / 'work')
    torch.manual_seed(99)
    assert same(uninterrupted, trained(tmp_path / 'work'))


def test_ctrl_c_within_an_optimiser_step_does_no_harm(tmp_path, uninterrupted, capsys):
    steps = []

    def press(step):
        steps.append(step)
        if step == 4:
            signal.raise_signal(signal.SIGINT)

    with before_every_optimiser_step(press):
        assert run(tmp_path) == 130
    assert len(steps) == 4
    assert torch.load(tmp_path / 'work' / 'world_model.pt')['done'] == 4, 'the step was finished'
    assert 'resumes' in capsys.readouterr().err
    assert not (tmp_path / 'model').exists()
    (tmp_path / 'work' / 'seconds.txt').write_text('600')
    assert run(tmp_path) == NOT_ACCEPTABLE
    model, manifest = load_model(tmp_path / 'model')
    assert 10 <= manifest.training['minutes'] < 12, 'the time before the interruption counts'
    assert same(uninterrupted, weights(model))


@pytest.mark.parametrize(
    'name', ['seed', 'episodes', 'length', 'iterations', 'reach_iterations', 'batch']
)
def test_changed_settings_are_refused_with_old_progress(name, tmp_path, capsys):
    work = tmp_path / 'work'
    work.mkdir()
    earlier = asdict(TINY)
    (work / 'settings.json').write_text(json.dumps(earlier))
    changed = replace(TINY, **{name: earlier[name] + 1})
    assert run(tmp_path, changed) == 2
    message = capsys.readouterr().err
    assert f'{name} {earlier[name]} (now {earlier[name] + 1})' in message
    assert '--restart' in message
    assert str(work) in message


def test_restart_forgets_old_progress(tmp_path):
    assert run(tmp_path) == NOT_ACCEPTABLE
    changed = replace(TINY, seed=5)
    assert run(tmp_path, changed) == 2
    assert run(tmp_path, changed, '--restart') == NOT_ACCEPTABLE
    _, manifest = load_model(tmp_path / 'model')
    assert manifest.training['config']['seed'] == 5
