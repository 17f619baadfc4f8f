"""Plan once with a world model of published size, and say what it costs in time and memory."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from grasp_ros.benchmark.run.timing import peak_mb, reset_peak
from grasp_ros.machine import machine, versions
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_model
from grasp_ros.models.protocol import Observation
from grasp_ros.models.published.dino_wm import DinoWm, DinoWmConfig
from grasp_ros.models.registry import LearnedModel
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.registry import build

SEED = 0


def image_size(model: LearnedModel) -> tuple[int, int]:
    """Height and width of the model's input, px."""
    config: Any = model.config
    size = getattr(config, 'image_size', None)
    return (size, size) if size else (config.image_height, config.image_width)


def problem_of_images(model: LearnedModel, horizon: int) -> PlanProblem:
    """Reach one random image from others, within actions of one standard deviation."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (1, model.history + 1, 3, *image_size(model))
    latents = model.encode(Observation(torch.rand(shape, generator=generator)))
    one = latents.new_ones(model.action_dim)
    return PlanProblem(
        context=latents[:, :-1],
        past_actions=latents.new_zeros(1, model.history - 1, model.action_dim),
        goal=latents[:, -1],
        action_low=-one,
        action_high=one,
        stop_action=0 * one,
        horizon=horizon,
    )


def solve_once(model: LearnedModel, horizon: int, iterations: int, rows: int) -> dict[str, Any]:
    """Times and memory of one GRASP solve with one candidate, one call after the other.

    Args:
        model: the world model.
        horizon: T.
        iterations: lifted ones; there are no syncs, proposals or greedy seeds.
        rows: `max_rows_per_call`; 0 for all T in one call.
    """
    started = time.process_time()
    problem = problem_of_images(model, horizon)
    encoding_s = time.process_time() - started
    planner = build(
        'grasp',
        model,
        {
            'goal_distance': 'latent', 'iterations': iterations, 'candidates': 1, 'proposals': 0,
            'seed_greedy': False, 'sync_every': 0, 'max_rows_per_call': rows, 'capture': False,
        },
    )  # fmt: skip
    reset_peak()
    before = time.process_time()
    plan = planner.plan(problem, generator=torch.Generator(model.device).manual_seed(SEED))
    finite = all(bool(torch.isfinite(each).all()) for each in (plan.actions, plan.rollout))
    return {
        'latent_shape': list(model.latent_shape),
        'history': model.history,
        'horizon': horizon,
        'iterations': plan.iterations,
        'max_rows_per_call': rows,
        'encode_frames': model.history + 1,
        'encode_cpu_s': round(encoding_s, 2),
        'solve_cpu_s': round(time.process_time() - before, 2),
        'solve_wall_s': round(plan.solve_time_s, 2),
        'peak_memory_mb': peak_mb(),
        'finite': finite,
    }


def main(
    arguments: Sequence[str] | None = None, config: DinoWmConfig | None = None
) -> int:
    """Solve, print and write one row as JSON; `config` is that of a model of random weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', help='folder; default: a DINO-WM of random weights')
    parser.add_argument('--horizon', type=int, default=50)
    parser.add_argument('--iterations', type=int, default=1)
    parser.add_argument('--rows', type=int, default=5, help='max_rows_per_call')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--output', type=Path, default=Path('out/bench/large_model.json'))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        if options.model:
            model, _ = load_model(find_model(options.model), options.device)
        else:
            torch.manual_seed(SEED)
            model = DinoWm(config or DinoWmConfig()).eval().requires_grad_(False).to(options.device)
    except CheckpointError as error:
        print(f'large_model: {error}', file=sys.stderr)
        return 2
    row = solve_once(model, options.horizon, options.iterations, options.rows)
    row |= {'threads': options.threads, 'device': options.device}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {'machine': machine(), 'versions': versions(), 'row': row}
    options.output.write_text(json.dumps(content, indent=1) + '\n')
    print(json.dumps(row))
    return 0


if __name__ == '__main__':
    sys.exit(main())
