"""The command `demo`: a simulated robot comes to what goal images show, judged and filmed.

It starts `sim_robot` and `planner` as processes of their own, talks to them over ROS only, and
ends them again whatever happens.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from tqdm import tqdm

from grasp_ros.control.types import State
from grasp_ros.sim.protocol import Result, Task
from grasp_ros.sim.registry import TASKS
from grasp_ros.tools.demo.bench import BenchError, ros_node
from grasp_ros.tools.demo.client import DemoClient, decoded
from grasp_ros.tools.demo.film import EpisodeFilm, Frame, save_film_strip, save_gif
from grasp_ros.tools.demo.processes import NODE_MODULES, ChildDiedError, Interrupted, Watch
from grasp_ros.tools.demo.report import Setup, Timing, demo_report, summary_table

CHECKOUT = Path(__file__).resolve().parents[3]
STEP_S = 0.1
EPISODES_FILMED = 6
EPISODES_IN_GIF = 5
BAR = '{n_fmt}/{total_fmt} |{bar:20}| {desc}'
REPORT, GIF, FILM_STRIP = 'report.json', 'film.gif', 'film_strip.png'


@dataclass
class Run:
    """Episodes and times so far; an interrupted run is reported, too.

    Attributes:
        results: of the episodes that were decided.
        films: of the first episodes; the last one may be unfinished.
        timing: of replans and commands.
        setup: None until the planner is configured.
    """

    results: list[Result] = field(default_factory=list)
    films: list[EpisodeFilm] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)
    setup: Setup | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0 where enough goals were reached, 1 where not or where something failed,
        130 after Ctrl-C.
    """
    options = _parse(arguments)
    watch = Watch()
    # Nothing outside this machine may take these commands for its own, unless asked to.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    options.output.mkdir(parents=True, exist_ok=True)
    for name in (REPORT, GIF, FILM_STRIP):
        (options.output / name).unlink(missing_ok=True)
    run = Run()
    status = 1
    try:
        _perform(options, run, watch)
        reached = sum(result.reached for result in run.results)
        status = 0 if reached >= options.required_successes else 1
    except Interrupted:
        print('\nInterrupted.', file=sys.stderr)
        status = 128 + (watch.signal or 0)
    except (BenchError, ChildDiedError) as error:
        print(f'demo: {error}', file=sys.stderr)
    finally:
        _write(options, run)
    return status


def _perform(options: argparse.Namespace, run: Run, watch: Watch) -> None:
    """Start everything, run all episodes, end everything: the planner before the robot."""
    task = TASKS[options.task]
    seeds = task.seeds(options.seed, options.episodes)
    # At first the robot shows an episode that is not judged, so that none gets a head start.
    unjudged = ['--ros-args', '-p', f'seed:={seeds[-1] + 1}', '-p', f'task:={task.name}']
    params = ['--ros-args'] if parameter_files(task, options.params) else []
    for path in parameter_files(task, options.params):
        params += ['--params-file', str(path)]
    with ExitStack() as stack:
        for name, ros_arguments in (('sim_robot', unjudged), ('planner', params)):
            log = options.output / f'{name}.log'
            stack.enter_context(watch.child(name, NODE_MODULES[name], ros_arguments, log))
        node, executor = stack.enter_context(ros_node('demo'))
        client = DemoClient(node, executor, watch.check, options.video, task.poses)
        run.timing = client.timing
        run.setup = _bring_up(client, watch)
        with tqdm(total=len(seeds), bar_format=BAR, disable=None, leave=False) as bar:
            for number, seed in enumerate(seeds):
                film = EpisodeFilm(f'episode {number + 1} of {len(seeds)}, seed {seed}')
                if options.video and number < EPISODES_FILMED:
                    run.films.append(film)
                run.results.append(_episode(client, task, seed, run.setup.horizon, film, bar))
                bar.write(f'{film.title}: {film.outcome}')
                bar.update()


def _bring_up(client: DemoClient, watch: Watch) -> Setup:
    """Wait for the nodes, then configure and activate the planner, showing what it logs."""
    print('Starting sim_robot and planner ...', flush=True)
    planner = watch.children[-1]
    watch.shown = planner
    client.bring_up(planner)
    watch.shown = None
    name, horizon, threads = client.get(('planner.name', 'planner.horizon', 'torch_threads'))
    assert client.status is not None
    return Setup(name, horizon, client.status.device, threads)


def _episode(
    client: DemoClient, task: Task, seed: int, horizon: int, film: EpisodeFilm, bar: tqdm
) -> Result:
    """Run one episode and film it."""
    start = client.start_episode(seed)
    monitor = task.monitor(start.episode, horizon)
    while not monitor.ended:
        monitor.update(task.state(client.next_tick().poses))
        state = State(client.status.state).name if client.status else 'no status'
        caption = f'{state}, {monitor.progress()}'
        bar.set_description_str(f'seed {seed}: {caption}')
        camera, goal = decoded(client.camera), decoded(client.goal)
        if camera is not None and goal is not None:
            film.frames.append(Frame(camera, goal, decoded(client.imagined), caption))
    result = monitor.result()
    words = task.wording
    film.outcome = (
        f'{"reached" if result.reached else "NOT reached"}, {words.groups[result.group]}, '
        f'{result.steps} steps, {words.error(result.row())}'
    )
    return result


def _write(options: argparse.Namespace, run: Run) -> None:
    """Write report and film of what ran, and sum it up."""
    if run.setup is None:
        return
    output = options.output
    report = demo_report(run.results, run.timing, run.setup, options.task)
    path = output / REPORT
    path.write_text(json.dumps(report, indent=2) + '\n')
    print(f'\n{summary_table(report)}\n\nWrote {path}', flush=True)
    if any(film.frames for film in run.films):
        save_film_strip(output / FILM_STRIP, run.films)
        save_gif(output / GIF, run.films[:EPISODES_IN_GIF], STEP_S)
        print(f'Wrote {output / FILM_STRIP} and {output / GIF}', flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='demo', description=__doc__.split('\n')[0])
    parser.add_argument(
        '--task', choices=list(TASKS), default='two_room', help='default two_room'
    )
    parser.add_argument('--episodes', type=int, default=5, metavar='N', help='default 5')
    parser.add_argument(
        '--seed',
        type=int,
        default=1000,
        help='first seed, default 1000; the episodes take this one and those after it. In two_room '
        'even seeds lead to the other room, and at least half of them are even: an odd first seed '
        'with an odd number of episodes takes the next even seed for the last one',
    )
    parser.add_argument(
        '--params', type=Path, metavar='FILE.yaml', help='ROS parameter file for the planner'
    )
    parser.add_argument('--output', type=Path, default=Path('out/demo'), help='default out/demo')
    parser.add_argument('--no-video', dest='video', action='store_false', help='take no images')
    parser.add_argument(
        '--required-successes',
        type=int,
        metavar='N',
        help='goals that must be reached for exit status 0, default all, in drawn '
        'worlds four in five, of push_t two in five',
    )
    options = parser.parse_args(arguments)
    try:
        seeds = TASKS[options.task].seeds(options.seed, options.episodes)
    except ValueError as error:
        parser.error(str(error))
    if seeds[-1] >= 2**31 - 1:
        parser.error(f'--seed {options.seed} is too large')
    fault = _params_fault(options.params) if options.params else None
    if fault:
        parser.error(f'--params {options.params}: {fault}')
    if options.required_successes is None:
        share = TASKS[options.task].required_share
        options.required_successes = math.ceil(share * options.episodes)
    elif not 0 <= options.required_successes <= options.episodes:
        parser.error(f'--required-successes must be between 0 and {options.episodes}')
    return options


def _params_fault(path: Path) -> str | None:
    """Why a parameter file cannot be meant for the planner, or None; ROS would say nothing."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return f'it cannot be read: {error}'
    nodes = list(content) if isinstance(content, dict) else []
    if not any(str(node).split('/')[-1] in ('planner', '*', '**') for node in nodes):
        return f"it has no parameters for the planner: it needs the key '/**/planner:', not {nodes}"
    return None


def parameter_files(task: Task, given: Path | None) -> list[Path]:
    """Parameter files for the planner: the task's first, then that of the command line."""
    files = [] if task.parameter_file is None else [_config() / task.parameter_file]
    return [*files, given] if given else files


def _config() -> Path:
    """Folder config/ of this checkout, or of the installed package."""
    if (CHECKOUT / 'package.xml').is_file():
        return CHECKOUT / 'config'
    return Path(get_package_share_directory('grasp_ros'), 'config')


if __name__ == '__main__':
    sys.exit(main())
