"""Parts of the GPU check that measure in a process of their own: plans, speed, episodes, training.

python -m system.gpu.parts plans --device cuda --budget 60 --output out/gpu/plans.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grasp_ros.benchmark.speed import suite
from grasp_ros.benchmark.speed.iteration import random_problem
from grasp_ros.benchmark.speed.references import MlpPredictor, PatchPredictor
from grasp_ros.control.factory import build_stack
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.models.protocol import WorldModel
from grasp_ros.parameters.yaml_file import read_parameters
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.sim.closed_loop import RobotEpisode, drive
from grasp_ros.sim.motion import collect
from grasp_ros.sim.protocol import RobotSettings
from grasp_ros.sim.registry import ROOMS, TASKS
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.phases import Trainer
from grasp_ros.training.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[3]
Row = dict[str, Any]

MODEL = 'two_room'
SEED, FIRST_SEED = 3, 1000
TIMED_SOLVES = 5
TOLERANCE = {'float32': 1e-3, 'bfloat16': 2e-2}
"""Largest difference of normalised actions between captured and eager plans."""
ROW_SECONDS = 0.3
EPISODES = 10
TRAINED_EPISODES, TRAINED_ITERATIONS = 400, 150


class Result:
    """What a part has found so far; written after each row, since the part may be cut short."""

    def __init__(self, output: Path, budget_s: float) -> None:
        """Write to `output`; `budget_s` seconds are there from now on."""
        self._output = output
        self._ends_s = time.monotonic() + budget_s
        self.rows: list[Row] = []
        self.faults: list[str] = []

    @property
    def late(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() > self._ends_s

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        self.save(complete=False)

    def fault(self, fault: str) -> None:
        """Keep what is wrong."""
        self.faults.append(fault)
        self.save(complete=False)

    def save(self, complete: bool) -> None:
        """Write all; `complete` where nothing was left out."""
        content = {'complete': complete, 'faults': self.faults, 'rows': self.rows}
        self._output.write_text(json.dumps(content, indent=1) + '\n')


@dataclass(frozen=True)
class Case:
    """A planner whose captured and eager plans are compared.

    Attributes:
        model: as in `models`.
        horizon: T.
        options: of GRASP, where they are not its defaults.
    """

    model: str
    horizon: int
    options: Mapping[str, Any]


CASES = (
    Case(MODEL, 50, {}),
    Case(MODEL, 50, {'goal_distance': 'latent'}),
    Case(MODEL, 50, {'sync_every': 3, 'sync_steps': 2}),
    Case(MODEL, 50, {'sync_every': 3, 'sync_kind': 'sweeps'}),
    Case(MODEL, 50, {'sync_every': 3, 'sync_kind': 'cem'}),
    Case(MODEL, 50, {'action_step': 'gauss_newton'}),
    Case(MODEL, 50, {'stop_gradient': False, 'goal_distance': 'latent'}),
    Case(MODEL, 50, {'spread_units': True, 'state_noise': 0.1, 'state_relaxation': 0.0}),
    Case(MODEL, 50, {'state_relaxation': 0.5, 'goal_distance': 'latent'}),
    Case(MODEL, 50, {'precision': 'bfloat16'}),
    Case('192-D', 25, {'goal_distance': 'latent'}),
    Case('192-D', 25, {'sync_every': 3, 'goal_distance': 'latent'}),
    Case('patches', 4, {'goal_distance': 'latent'}),
    Case('patches', 4, {'goal_distance': 'latent', 'precision': 'bfloat16'}),
)


def models(device: torch.device) -> Mapping[str, Callable[[], WorldModel]]:
    """The model that comes along, and others with random weights."""
    torch.manual_seed(0)
    return {
        MODEL: lambda: load_model(find_model(MODEL), device)[0],
        '192-D': lambda: MlpPredictor().to(device),
        'patches': lambda: PatchPredictor().to(device),
    }


def plans(result: Result, device: torch.device) -> Iterator[None]:
    """Compare captured with eager plans, cold and warm."""
    makers = models(device)
    made: dict[str, WorldModel] = {}
    for case in CASES:
        named = f'{case.model} {dict(case.options)}'
        try:
            model = made.setdefault(case.model, makers[case.model]())
            row = _compared(case, model)
        except RuntimeError as error:
            result.fault(f'{named}: {error}')
            continue
        result.add(row)
        limit = TOLERANCE[case.options.get('precision', 'float32')]
        if device.type == 'cuda' and row['execution'] != 'cuda graph':
            result.fault(f'{named}: {row["execution"]}')
        elif not row['action_difference'] <= limit:
            result.fault(f'{named}: captured actions differ by {row["action_difference"]:.2g}')
        yield


def _compared(case: Case, model: WorldModel) -> Row:
    problem = random_problem(model, 1, case.horizon, seed=SEED)
    config = GraspConfig(**case.options)
    captured, eager = (
        GraspPlanner(model, replace(config, capture=capture)) for capture in (True, False)
    )
    began = time.perf_counter()
    captured.prepare(problem)
    prepare_s = time.perf_counter() - began
    eager.prepare(problem)
    pairs = list(zip(*(_solve(one, problem) for one in (captured, eager)), strict=True))

    def difference(name: str) -> float:
        return max(float((getattr(a, name) - getattr(b, name)).abs().max()) for a, b in pairs)

    return {
        'model': case.model,
        'horizon': case.horizon,
        'options': dict(case.options),
        'execution': str(captured.execution),
        'action_difference': difference('actions'),
        'cost_difference': difference('terminal_cost'),
        'captured_ms': _warm_ms(captured, problem, pairs[-1][0]),
        'eager_ms': _warm_ms(eager, problem, pairs[-1][1]),
        'prepare_s': round(prepare_s, 2),
    }


def _solve(planner: GraspPlanner, problem: PlanProblem) -> tuple[Plan, Plan]:
    generator = torch.Generator(planner.model.device).manual_seed(SEED)
    first = planner.plan(problem, generator=generator)
    return first, planner.plan(problem, first, generator=generator)


def _warm_ms(planner: GraspPlanner, problem: PlanProblem, plan: Plan) -> float:
    generator = torch.Generator(planner.model.device).manual_seed(SEED)
    times = []
    for _ in range(TIMED_SOLVES):
        plan = planner.plan(problem, plan, generator=generator)
        times.append(1e3 * plan.solve_time_s)
    return round(statistics.median(times), 3)


def speed(result: Result, device: torch.device) -> Iterator[None]:
    """Take the benchmark's speed rows, what is asked for most first."""
    model = load_model(find_model(MODEL), device)[0]
    for rows in (
        (suite.full_solve(MODEL, model) for _ in range(1)),
        suite.latent_sizes(device, ROW_SECONDS),
        suite.growth(MODEL, model, ROW_SECONDS),
        suite.batching_and_capture(MODEL, model, seconds=ROW_SECONDS),
    ):
        try:
            for row in rows:
                result.add(row)
                yield
        except RuntimeError as error:
            result.fault(f'after {len(result.rows)} rows: {error}')


@dataclass(frozen=True)
class ClosedLoop:
    """A task to be driven.

    Attributes:
        task: in TASKS, and the name of its model.
        file: parameters in config/ that the task needs; None for the defaults.
        least: share of the goals that must be reached.
    """

    task: str
    file: str | None
    least: float


CLOSED_LOOPS = (ClosedLoop('two_room', None, 0.8), ClosedLoop('push_t', 'push_t.yaml', 0.3))


def closed_loop(result: Result, device: torch.device) -> Iterator[None]:
    """Drive two tasks from the node's parameters, in lock step with the simulator."""
    for loop in CLOSED_LOOPS:
        file = None if loop.file is None else ROOT / 'config' / loop.file
        period_s = 0.1
        params = read_parameters(
            file,
            [
                f'model:={loop.task}', f'device:={device}', 'latency_compensation:=constant',
                f'planning_delay:={period_s}', f'control_rate:={1 / period_s}',
            ],
        )  # fmt: skip
        stack = build_stack(params)
        row: Row = {
            'task': loop.task,
            'device': str(stack.model.device),
            'execution': str(stack.planner.execution),
            'reached': 0,
            'episodes': 0,
            'solve_ms': None,
        }
        result.add(row)
        times_s: list[float] = []
        for seed in range(FIRST_SEED, FIRST_SEED + EPISODES):
            task = TASKS[loop.task]
            robot = task.robot(RobotSettings(), seed, 0.0)
            monitor = task.monitor(robot.episode(), params.planner.horizon)
            episode = RobotEpisode(task, robot, monitor, period_s)
            times_s += drive(stack.controller, episode, period_s).solve_times_s
            row['reached'] += monitor.result().reached
            row['episodes'] += 1
            row['solve_ms'] = round(1e3 * statistics.median(times_s), 3)
            result.save(complete=False)
            yield
        if row['reached'] < loop.least * EPISODES:
            result.fault(f'{loop.task}: {row["reached"]} of {EPISODES} goals reached')


def training(result: Result, device: torch.device) -> Iterator[None]:
    """Train encoder and predictor for a moment in each precision; the loss must fall."""
    recipe = RECIPES[MODEL]
    world = ROOMS[MODEL].draw(np.random.default_rng(0))
    motion = collect(world, TRAINED_EPISODES, recipe.length, recipe.seed)
    dataset = MotionDataset([world], motion, float(motion.actions.std()))
    for precision in ('float32', 'bfloat16'):
        config = replace(recipe, iterations=TRAINED_ITERATIONS, precision=precision)
        losses: list[float] = []
        with tempfile.TemporaryDirectory() as work:
            trainer = Trainer(
                config,
                dataset,
                Path(work),
                log=lambda name, done, terms: losses.append(terms['total']),  # noqa: B023
                device=str(device),
            )
            began = time.perf_counter()
            trainer.world_model()
            seconds = time.perf_counter() - began
        row = {
            'phase': 'world_model',
            'device': str(trainer.model.device),
            'precision': precision,
            'iterations': config.iterations,
            'iterations_per_s': round(config.iterations / seconds, 2),
            'losses': [round(loss, 4) for loss in losses],
        }
        result.add(row)
        if len(losses) < 2 or min(losses[1:]) >= losses[0]:
            result.fault(f'{precision}: the loss does not fall: {losses}')
        yield


PARTS: Mapping[str, Callable[[Result, torch.device], Iterator[None]]] = {
    part.__name__: part for part in (plans, speed, closed_loop, training)
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part; exit status 1 where something is wrong, 3 where time ran out."""
    parser = argparse.ArgumentParser(prog='gpu part', description=__doc__)
    parser.add_argument('part', choices=PARTS)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--budget', type=float, required=True, help='seconds')
    parser.add_argument('--output', type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result = Result(options.output, options.budget)
    complete = True
    for _ in PARTS[options.part](result, torch.device(options.device)):
        if result.late:
            complete = False
            break
    result.save(complete)
    for fault in result.faults:
        print(fault, file=sys.stderr)
    return 1 if result.faults else 0 if complete else 3


if __name__ == '__main__':
    sys.exit(main())
