"""What latency compensation gains: episodes with planning slowed to 0.5, 1 and 2 control periods.

Each episode is driven by a plain node that executes each plan from its beginning, by one that takes
commands by their times, with a constant compensation and with the delay estimated while driving.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.benchmark.latency_report import (
    COMPENSATIONS,
    PERIODS,
    markdown,
    paired,
    summarise,
    write,
)
from grasp_ros.benchmark.run.cells import episode_of
from grasp_ros.benchmark.run.variants import evaluation_seeds
from grasp_ros.benchmark.run.workers import map_cells
from grasp_ros.benchmark.slow_planning import DelayedDriver, SlowEpisode, SlowPlanner
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.factory import build_controller, model_limits
from grasp_ros.control.observation import ImageSource
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import Command, State
from grasp_ros.machine import machine, versions
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_model
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import WorldModel
from grasp_ros.models.sensors import SensorSpec
from grasp_ros.planning.protocol import Planner
from grasp_ros.planning.registry import build
from grasp_ros.sim.rooms.episodes import RoomsEpisode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.sim.success import EpisodeResult, ReachMonitor, Rules

TASK = 'two_room_drawn_door'
HORIZON = 50
CONSTANT_S = 0.08
GOAL_TOLERANCE = 1.0
PRECISE_PX = 2.0
NOTES = (
    'none: a plain node, which plans from the picture as it is and executes each plan from its '
    'beginning; times: plans start from the picture, but their commands are taken by their times; '
    f'constant: planning_delay is {CONSTANT_S:g} s, the default; estimated: from the measured '
    'delays. A solve takes the given number of control periods (0.1 s), spread by 10 %, 3 % of '
    'them twice as long; the next begins when it has ended. Reached: come within 5 px (25 cm) of '
    'the goal and stay there for 1 s, in 1.5 times the time-optimal steps and 20 more; precisely: '
    f'within {PRECISE_PX:g} px (10 cm). Steps over optimum: control periods until the robot has '
    'arrived to stay within 5 px, beyond the time-optimal path, mean of the successes. Change: '
    'mean squared change of the command from tick to tick. Overshoot: how far the robot went '
    'beyond its goal, mean. In brackets McNemar p-values, after ± standard errors.'
)


@dataclass(frozen=True)
class Trial:
    """One episode to drive.

    Attributes:
        compensation: one of COMPENSATIONS.
        periods: planning time in control periods.
        seed: of the episode.
    """

    compensation: str
    periods: float
    seed: int


def policy(compensation: str) -> ControllerConfig:
    """The controller's policy with a kind of compensation."""
    return ControllerConfig(
        horizon=HORIZON,
        planning_delay=0.0 if compensation in ('none', 'times') else CONSTANT_S,
        estimate_delay=compensation == 'estimated',
    )


def run_trial(trial: Trial) -> dict[str, Any]:
    """Drive one episode; its entry in the JSON file."""
    torch.set_num_threads(1)
    model, manifest, planner = _parts()
    slow = SlowPlanner(planner)
    controller = build_controller(
        model,
        manifest,
        slow,
        model_limits(manifest),
        policy(trial.compensation),
        GOAL_TOLERANCE,
    )
    control: DelayedDriver = OnArrival(controller) if trial.compensation == 'none' else controller
    task = episode_of(TASK, trial.seed)
    run = SlowEpisode(
        control, slow, task, Rules(task.budget, PRECISE_PX), trial.periods
    ).run()
    usual = judged(run.positions / METRES_PER_PIXEL, task, Rules(task.budget))
    return {
        'compensation': trial.compensation,
        'periods': trial.periods,
        'seed': trial.seed,
        'reached': usual.reached,
        'precise': run.result.reached,
        'steps': usual.steps,
        'optimal_steps': round(task.optimal_steps, 2),
        'change': round(run.change, 5),
        'overshoot_cm': None if run.overshoot is None else round(100 * run.overshoot, 2),
        'delay_s': round(run.delay_s, 4),
        'plans': run.plans,
    }


def judged(
    positions_px: NDArray[np.float64], task: RoomsEpisode, rules: Rules
) -> EpisodeResult:
    """The verdict by other rules on a track (S, 2) of positions in camera pixels."""
    episode = task.episode
    judge = ReachMonitor(
        episode.seed, episode.through_door, episode.goal / METRES_PER_PIXEL, rules
    )
    for position in positions_px:
        judge.update(position)
    return judge.result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write latency.json, latency.md and latency.png."""
    parser = argparse.ArgumentParser(prog='latency', description=__doc__)
    parser.add_argument('--episodes', type=int, default=40, help='of each row; default 40')
    parser.add_argument('--workers', type=int, default=2, help='processes; default 2')
    parser.add_argument('--output', type=Path, default=Path('out/latency'), help='folder')
    options = parser.parse_args(arguments)
    if min(options.episodes, options.workers) < 1:
        parser.error('--episodes and --workers must be at least 1')
    try:
        manifest = _parts()[1]
        seeds = evaluation_seeds(0, options.episodes)
    except (CheckpointError, ValueError) as error:
        print(f'latency: {error}', file=sys.stderr)
        return 2
    trials = [
        Trial(compensation, periods, seed)
        for seed, periods, compensation in product(seeds, PERIODS, COMPENSATIONS)
    ]
    results: dict[int, dict[str, Any]] = {}
    with tqdm(total=len(trials), desc='latency', unit='episode') as bar:
        for position, entry in map_cells(run_trial, trials, workers=options.workers):
            results[position] = entry
            bar.update()
    episodes = [results[position] for position in sorted(results)]
    rows = summarise(episodes)
    content = {
        'machine': machine(),
        'versions': versions(),
        'task': TASK,
        'model': {'name': find_model(TASK).name, 'sha256': manifest.weights_sha256},
        'seeds': list(seeds),
        'notes': NOTES,
        'rows': rows,
        'paired': paired(episodes),
        'episodes': episodes,
    }
    write(options.output, content)
    print(markdown(rows))
    print(f'\nWrote latency.json, latency.md and latency.png to {options.output}')
    return 0


@lru_cache(maxsize=1)
def _parts() -> tuple[WorldModel, Manifest, Planner]:
    model, manifest = load_model(find_model(TASK))
    return model, manifest, build('grasp', model, {})


DRIVING = (State.RUNNING, State.PLAN_EXPIRED)


class OnArrival:
    """Plans from the newest picture as it is, and executes each plan from its first command on.

    For velocities, and models with one frame of history: the commands of the past stay out of it.
    Everything else is the controller's, so that nothing but the times differs.
    """

    def __init__(self, controller: Controller) -> None:
        """Control with `controller`, whose plans must start from the picture: no delay assumed."""
        self._controller = controller
        self._commands: deque[NDArray[np.float64]] = deque()
        self._newest_ns = 0

    @property
    def inputs(self) -> SensorSpec:
        """See Controller."""
        return self._controller.inputs

    def add_measurement(self, name: str, data: NDArray[np.float64], stamp_ns: int) -> str | None:
        """See Controller."""
        return self._controller.add_measurement(name, data, stamp_ns)

    def reset(self) -> None:
        """See Controller."""
        self._controller.reset()
        self._commands.clear()

    def set_goal(self, image: NDArray[np.uint8]) -> bool:
        """See Controller."""
        return self._controller.set_goal(image)

    def observe(self, image: ImageSource, stamp_ns: int) -> str | None:
        """See Controller."""
        self._newest_ns = stamp_ns
        return self._controller.observe(image, stamp_ns)

    def plan(self, now_ns: int, clock: Callable[[], int] | None = None) -> PlanReport:
        """See Controller; the plan is in force when this returns, no delay is measured."""
        report = self._controller.plan(self._newest_ns)
        if report.timed is not None and report.accepted:
            self._commands = deque(report.timed.commands)
        return report

    def command(self, now_ns: int) -> Command:
        """The next command of the plan, or the controller's stop."""
        command = self._controller.command(now_ns)
        if command.state not in DRIVING:
            return command
        action = self._commands.popleft() if self._commands else np.zeros(2)
        return replace(command, action=action)


if __name__ == '__main__':
    sys.exit(main())
