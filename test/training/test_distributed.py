"""Training in several processes: the same steps as one process that sees all their batches."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from grasp_ros.models.checkpoint import load_model
from grasp_ros.training import loop as distributed
from grasp_ros.training.loop import EarlyStop, run_phase
from harness.recorded import write_dots

ITERATIONS, BATCH = 8, 16


def line(rng, count):
    """Points of a plane, and noise."""
    inputs = torch.from_numpy(rng.normal(size=(count, 3))).float()
    return inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1


def error(model, rng, count):
    inputs, outputs = line(rng, count)
    return (model(inputs) - outputs).square().mean()


def new_model(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1))


def train(model, loss, folder, early_stop=None):
    run_phase(
        'phase', model, lambda rng: {'total': loss(rng)}, ITERATIONS, learning_rate=0.05, seed=3,
        folder=folder, early_stop=early_stop,
    )  # fmt: skip


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]


def environment(port, **more):
    return {
        'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'GLOO_SOCKET_IFNAME': 'lo', **more,
    }  # fmt: skip


def worker(rank, port, folder, stop):
    """One of two processes; the second begins with other weights."""
    os.environ.update(
        environment(port), RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2',
        TORCHELASTIC_RUN_ID='test',
    )  # fmt: skip
    torch.set_num_threads(1)
    with distributed.processes('cpu'):
        model = new_model(seed=rank)
        # The processes would judge differently: the first decides.
        judged = iter([1.0, 2.0, 2.0] if rank == 0 else [1.0, 0.5, 0.1])
        early = EarlyStop(lambda: next(judged), patience=1, every=2) if stop else None
        loss = lambda rng: error(model, rng, distributed.share(BATCH))  # noqa: E731
        train(model, loss, folder, early)
    torch.save(model.state_dict(), folder / f'weights_{rank}.pt')


def trained_by_two(folder, stop=False):
    multiprocessing.spawn(worker, (free_port(), folder, stop), nprocs=2)
    return [torch.load(folder / f'weights_{rank}.pt') for rank in range(2)]


def test_two_processes_make_the_steps_of_one_with_both_batches(tmp_path):
    first, second = trained_by_two(tmp_path)
    model = new_model(seed=0)
    step = iter(range(ITERATIONS))

    def both(_):
        done = next(step)
        streams = [np.random.default_rng([3, done, rank]) for rank in (0, 1)]
        return sum(error(model, stream, BATCH // 2) for stream in streams) / 2

    (tmp_path / 'one').mkdir()
    train(model, both, tmp_path / 'one')
    for name, value in model.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(first[name], second[name])


def test_the_first_process_decides_when_to_stop(tmp_path):
    first, second = trained_by_two(tmp_path, stop=True)
    assert torch.load(tmp_path / 'phase.pt')['done'] == 4
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_alone_nothing_is_shared():
    assert distributed.share(7) == 7
    assert distributed.number() == 0
    assert distributed.of_the_first(0.5) == 0.5
    with distributed.processes('cpu') as device:
        assert device == 'cpu' and not distributed.several()


@pytest.mark.slow
def test_torchrun_trains_a_model_that_loads(tmp_path):
    write_dots(tmp_path / 'data', [30] * 20)
    tiny = [
        '--iterations=4', '--reach-iterations=4', '--decoder-iterations=2', '--batch=8',
        '--span=8', '--manifold-iterations=2', '--predictor-iterations=2', '--reach-batch=16',
        '--channels=4', '--latent-dim=8', '--hidden=32', '--keypoints=4',
    ]  # fmt: skip
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2', '--master-port',
        str(free_port()), '-m', 'grasp_ros.training.command', f'--recorded={tmp_path / "data"}',
        f'--output={tmp_path / "model"}', f'--work={tmp_path / "work"}', *tiny,
    ]  # fmt: skip
    ended = subprocess.run(
        command, env={**os.environ, 'GLOO_SOCKET_IFNAME': 'lo'}, capture_output=True, text=True,
        timeout=280,
    )  # fmt: skip
    model, _ = load_model(tmp_path / 'model')
    assert model.latent_shape == (8,)
    assert ended.stdout.count('evaluating') == 1, ended.stderr
