"""The command `train_from_bags_demo`: from recorded bags to a robot that reaches goal images.

It drives the simulated robot at random, faster than real time, and records what camera and driver
publish; trains a world model from those bags alone; and lets the planner drive with it. Robot,
driver, recorder and planner are processes of their own that know each other through ROS only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from grasp_ros.tools.demo.processes import (
    Child,
    ChildDiedError,
    Interrupted,
    Watch,
    die_with_parent,
)

TIME_SCALE = 30.0
BAGS = 4
EPISODE_STEPS = 60
FIRST_EPISODE = 1_000_000
"""Far from the seeds that the planner is judged on."""
RECORDED_TOPICS = ('image', 'command')
POLL_S = 0.2
TRAINING = (
    '--action-low', '-1', '-1', '--action-high', '1', '1',
    '--batch', '32', '--iterations', '3500', '--patience', '0',
    '--latent-dim', '32', '--hidden', '384', '--encoder-hidden', '128',
    '--reach-iterations', '8000', '--predictor-iterations', '2000',
    '--decoder-iterations', '800', '--manifold-iterations', '2000',
)  # fmt: skip
PARAMETERS = """\
/**/planner:
  ros__parameters:
    model: {model}
"""


class StageFailed(RuntimeError):  # noqa: N818 (what it says for people reads better so)
    """A stage ended without what the next one needs; the message is for people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all three stages.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0 where enough goals were reached, 1 where not or where a stage failed,
        130 after Ctrl-C.
    """
    options = _parse(arguments)
    watch = Watch()
    # Nothing outside this machine may take these commands for its own, unless asked to.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    options.output.mkdir(parents=True, exist_ok=True)
    for name in ('bags', 'train', 'model', 'demo'):
        shutil.rmtree(options.output / name, ignore_errors=True)
    times: dict[str, dict[str, float]] = {}
    try:
        with _timed('record', times):
            _record(options, watch)
        with _timed('train', times):
            _train(options, watch)
        with _timed('drive', times):
            status = _drive(options, watch)
    except Interrupted:
        print('\nInterrupted.', file=sys.stderr)
        return 128 + (watch.signal or 0)
    except (StageFailed, ChildDiedError) as error:
        print(f'train_from_bags_demo: {error}', file=sys.stderr)
        status = 1
    finally:
        _report(options.output, times)
    return status


def _record(options: argparse.Namespace, watch: Watch) -> None:
    """Record all bags, one after the other, each with a driver and a recorder of its own."""
    print(f'Recording {options.episodes} episodes in {BAGS} bags ...', flush=True)
    with ExitStack() as stack:
        stack.enter_context(
            watch.child(
                'sim_robot',
                'grasp_ros.tools.sim_robot',
                ['--ros-args', '-p', f'time_scale:={options.time_scale}'],
                options.output / 'sim_robot.log',
            )
        )
        each = -(-options.episodes // BAGS)
        for number in range(BAGS):
            _record_bag(options.output, number, each, watch)


def _record_bag(output: Path, number: int, episodes: int, watch: Watch) -> None:
    bag = output / 'bags' / f'{number}'
    bag.parent.mkdir(exist_ok=True)
    with ExitStack() as stack:
        recorder = stack.enter_context(
            watch.child(
                'record',
                'grasp_ros.tools.record',
                ['--output', str(bag), '--topics', *RECORDED_TOPICS],
                output / f'record_{number}.log',
                patience_s=30.0,
            )
        )
        # The driver waits until robot and recorder hear its commands.
        settings = {
            'seed': number,
            'first_episode': FIRST_EPISODE + number * episodes,
            'episodes': episodes,
            'episode_steps': EPISODE_STEPS,
            'listeners': 2,
        }
        driver = Child(
            'random_driver',
            'grasp_ros.tools.random_driver',
            ['--ros-args', *(part for key, value in settings.items()
                             for part in ('-p', f'{key}:={value}'))],
            output / f'random_driver_{number}.log',
        )  # fmt: skip
        stack.callback(driver.stop)
        watch.shown = driver
        while driver.status is None:
            watch.check()
            time.sleep(POLL_S)
        watch.shown = None
        if driver.status:
            raise StageFailed(f'random_driver ended with status {driver.status}\n'
                              f'{driver.log_tail()}')  # fmt: skip
    print(f'  {recorder.log_tail(1).splitlines()[-1].strip()}', flush=True)


def _train(options: argparse.Namespace, watch: Watch) -> None:
    """Train from the bags, and nothing else, with the command that everybody has."""
    arguments = [
        '--bags', str(options.output / 'bags'),
        '--output', str(options.output / 'model'),
        '--work', str(options.output / 'train'),
        '--threads', str(options.threads),
        *TRAINING,
        *options.training,
    ]  # fmt: skip
    print(f'Training: train {" ".join(arguments)}', flush=True)
    status = _run('grasp_ros.training.command', arguments, watch)
    if status not in (0, 1) or not (options.output / 'model' / 'manifest.json').exists():
        raise StageFailed(f'training ended with status {status}')


def _drive(options: argparse.Namespace, watch: Watch) -> int:
    """Let the planner drive with the new model, judged and filmed as in the demo."""
    parameters = options.output / 'planner.yaml'
    parameters.write_text(PARAMETERS.format(model=(options.output / 'model').resolve()))
    arguments = [
        '--params', str(parameters),
        '--output', str(options.output / 'demo'),
        '--episodes', str(options.judged_episodes),
        '--seed', str(options.seed),
        '--required-successes', str(options.required_successes),
    ]  # fmt: skip
    return _run('grasp_ros.tools.demo.command', arguments, watch)


def _run(module: str, arguments: Sequence[str], watch: Watch) -> int:
    """Run a command of this package in the foreground; its exit status."""
    command = [sys.executable, '-m', module, *arguments]
    process = subprocess.Popen(command, preexec_fn=die_with_parent())
    try:
        while process.poll() is None:
            watch.check()
            time.sleep(POLL_S)
    except Interrupted:
        # Ctrl-C in a terminal has reached it, too; a signal from elsewhere has not.
        process.terminate()
        process.wait()
        raise
    return process.returncode


@contextmanager
def _timed(stage: str, times: dict[str, dict[str, float]]) -> Iterator[None]:
    """Keep the wall time and the CPU time of all processes that the block starts."""
    wall, cpu = time.monotonic(), _children_cpu_s()
    try:
        yield
    finally:
        times[stage] = {
            'wall_s': round(time.monotonic() - wall, 1),
            'cpu_s': round(_children_cpu_s() - cpu, 1),
        }


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _report(output: Path, times: dict[str, dict[str, float]]) -> None:
    path = output / 'stages.json'
    path.write_text(json.dumps(times, indent=2) + '\n')
    for stage, spent in times.items():
        print(f'{stage:8} {spent["wall_s"] / 60:6.1f} min, CPU {spent["cpu_s"] / 60:6.1f} min')


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='train_from_bags_demo', description=__doc__.split('\n')[0]
    )
    add = parser.add_argument
    add('--output', type=Path, default=Path('out/train_from_bags'),
        help='folder; what an earlier run left there is removed; default %(default)s')  # fmt: skip
    add('--episodes', type=int, default=1600, help='to record, default %(default)s')
    add('--time-scale', type=float, default=TIME_SCALE,
        help='simulated seconds per second while recording, default %(default)s')  # fmt: skip
    add('--threads', type=int, default=1, help='of training, default %(default)s')
    add('--judged-episodes', type=int, default=10, help='default %(default)s')
    add('--required-successes', type=int, default=8, help='default %(default)s')
    add('--seed', type=int, default=1000, help='of the first judged one, default %(default)s')
    add('training', nargs='*', metavar='OPTION',
        help='after --: further options of the train command')  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
