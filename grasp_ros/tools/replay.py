"""The command `replay`: a recorded bag through the planner's controller, without DDS."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from grasp_ros.bags.comparison import Comparison, compare, read_commands
from grasp_ros.bags.events import Event, Source, check, events, is_image
from grasp_ros.bags.message_types import BagError, make_message
from grasp_ros.bags.reader import BagReader, content_hash
from grasp_ros.bags.virtual_node import OutputTopics, Pace, Recording, Tally, VirtualNode
from grasp_ros.bags.writer import BagWriter
from grasp_ros.control.factory import PlannerStack, build_stack
from grasp_ros.messages.commands import CommandLayout, command_layout
from grasp_ros.messages.proprioception import proprioception_layout
from grasp_ros.models.checkpoint import CheckpointError, find_model, read_manifest
from grasp_ros.models.sensors import image_topic
from grasp_ros.parameters.parameter import ParameterError, changed, values_of
from grasp_ros.parameters.table import NodeParameters
from grasp_ros.parameters.yaml_file import read_parameters

DESCRIPTION = """\
Feed a recorded bag (mcap or sqlite3) through the planner's controller, without DDS and on a
virtual clock: the same bag, model and parameters give the same commands, byte for byte on one
machine. Writes OUTPUT/bag (commands, plans, status) and OUTPUT/report.json."""
EPILOG = """\
Exit status: 0; 1 if --compare found a difference beyond --tolerance; 2 if something cannot be
read, written or used; 130 after Ctrl-C, which leaves what was replayed so far."""

DIFFERENT, FAILED, INTERRUPTED = 1, 2, 130
DTYPES = {'float32': torch.float32, 'float64': torch.float64}
REPLAYED = {'planner.deadline': 0.0, 'latency_compensation': 'constant'}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status, as `--help` says.
    """
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    handlers = {
        number: signal.signal(number, lambda _number, _frame: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return replay(options, ended)
    except (BagError, CheckpointError, ParameterError, ValueError) as error:
        print(f'replay: {error}', file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f'replay: {error.filename or options.output}: {error.strerror}', file=sys.stderr)
        return FAILED
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def replay(options: argparse.Namespace, ended: threading.Event) -> int:
    """Replay as the options say, until the bag ends or `ended` is set.

    Raises:
        BagError: if a bag cannot be read or written.
        ParameterError: if a parameter cannot be used.
        CheckpointError: if the model cannot be used.
        ValueError: if parameters and model do not fit together.
    """
    params = read_parameters(options.params_file, options.param)
    delay_s = _first(options.planning_delay, params.planning_delay)
    params = changed(params, {**REPLAYED, 'planning_delay': delay_s})
    source = _source(options, params)
    with BagReader(options.bag) as bag:
        images = check(bag, source)
        watch = Stopwatch()
        stack = build_stack(params, watch, DTYPES[options.dtype])
        if stack.model.device.type == 'cuda':
            torch.use_deterministic_algorithms(True, warn_only=True)
        layout = command_layout(params.command, stack.manifest, make_message)
        replan_s = _first(options.replan_period, params.planning_delay)
        pace = Pace(round(1e9 * layout.period_s), round(1e9 * replan_s))
        tally = Tally()
        with BagWriter(options.output / 'bag', options.storage, options.compress) as written:
            recording = Recording(written, stack, params, layout, OutputTopics())
            node = VirtualNode(stack.controller, pace)
            _run(events(bag, source), node, recording, tally, watch, images, ended)
        report = _report(options, bag, stack, params, pace, tally, ended.is_set())
    comparison = None
    if options.compare is not None and not ended.is_set():
        comparison = _compare(options, layout, tuple(stack.manifest.action.names), pace)
        report['comparison'] = {'with': str(options.compare), 'tolerance': options.tolerance,
                                **asdict(comparison)}
    path = options.output / 'report.json'
    path.write_text(json.dumps(report, indent=2) + '\n')
    _print(report, path)
    if ended.is_set():
        print('replay: interrupted; the bag holds what was replayed so far', file=sys.stderr)
        return INTERRUPTED
    return 0 if comparison is None or comparison.within else DIFFERENT


def _source(options: argparse.Namespace, params: NodeParameters) -> Source:
    """Where in the bag everything is that the model wants."""
    inputs = read_manifest(find_model(params.model)).inputs
    topics = options.image_topic or [image_topic(inputs, camera) for camera in inputs.cameras]
    if len(topics) != len(inputs.cameras):
        raise ParameterError(
            f'--image-topic names {len(topics)} topics, but the model has {len(inputs.cameras)} '
            f'cameras: {", ".join(inputs.cameras)}'
        )
    return Source(
        dict(zip(inputs.cameras, topics, strict=True)),
        options.goal_topic,
        options.goal,
        options.clock,
        proprioception_layout(params.proprioception.type, params.proprioception.fields, inputs),
        options.proprioception_topic,
    )


def _run(
    happening: Iterable[Event],
    node: VirtualNode,
    recording: Recording,
    tally: Tally,
    watch: Stopwatch,
    images: int,
    ended: threading.Event,
) -> None:
    """Feed all events; measure what each image takes outside the solves."""
    last_ns = 0
    watch.lap()
    with tqdm(total=images, desc='replay', unit='image', disable=None, leave=False) as bar:
        for event in happening:
            if ended.is_set():
                return
            tally.event(event)
            for outcome in node.feed(event):
                recording.add(outcome)
                tally.outcome(outcome)
            last_ns = event.time_ns
            if is_image(event):
                tally.outside(*watch.lap())
                bar.update()
        for outcome in node.until(last_ns + 1):
            recording.add(outcome)
            tally.outcome(outcome)


def _compare(
    options: argparse.Namespace, layout: CommandLayout, names: tuple[str, ...], pace: Pace
) -> Comparison:
    ours = read_commands(options.output / 'bag', OutputTopics().command, layout)
    theirs = read_commands(options.compare, options.command_topic, layout)
    return compare(ours, theirs, names, options.tolerance, pace.period_ns)


def _report(
    options: argparse.Namespace,
    bag: BagReader,
    stack: PlannerStack,
    params: NodeParameters,
    pace: Pace,
    tally: Tally,
    interrupted: bool,
) -> dict[str, Any]:
    """Everything that is to be known of a replay, ready for JSON."""
    return {
        'bag': {
            'path': str(options.bag),
            'sha256': content_hash(options.bag),
            'duration_s': bag.duration_s,
            'topics': {topic: list(found) for topic, found in bag.topics.items()},
        },
        'model': {'name': params.model, 'weights_sha256': stack.manifest.weights_sha256},
        'interrupted': interrupted,
        **tally.content(),
        'times': {
            'clock': options.clock,
            'control_period_s': pace.period_ns / 1e9,
            'planning_delay_s': params.planning_delay,
            'replan_period_s': pace.replan_ns / 1e9,
        },
        'machine': {
            'processor': platform.processor() or platform.machine(),
            'python': platform.python_version(),
            'numpy': np.__version__,
            'torch': torch.__version__,
            'torch_threads': torch.get_num_threads(),
            'device': str(stack.model.device),
            'dtype': options.dtype,
        },
        'parameters': values_of(params),
    }


def _print(report: dict[str, Any], path: Path) -> None:
    """The report in a few lines, for people."""
    images, commands = report['images'], report['commands']
    outside = report['outside_solves_ms_per_image']
    print(
        f'{images["received"]} images, {report["plans"]["made"]} plans, '
        f'{commands["count"]} commands (SHA-256 {commands["sha256"][:16]}), states: '
        + ', '.join(f'{name} {count}' for name, count in report['states'].items())
    )
    for reason, count in {**images['refused'], **report['plans']['faults']}.items():
        print(f'  {count} times {reason}')
    if outside['count']:
        print(
            f'outside the solves: {outside["median"]:.1f} ms an image (median), '
            f'{outside["p99"]:.1f} (p99)'
        )
    comparison = report.get('comparison')
    if comparison is not None:
        _print_comparison(comparison)
    print(f'Wrote {path.with_name("bag")} and {path}.')


def _print_comparison(comparison: dict[str, Any]) -> None:
    print(
        f'{comparison["matched"]} commands compared with {comparison["with"]}; without a '
        f'counterpart: {comparison["only_ours"]} ours, {comparison["only_theirs"]} theirs'
    )
    for name, row in comparison['dimensions'].items():
        correlation = row['correlation']
        shown = 'unknown' if correlation is None else f'{correlation:.4f}'
        print(
            f'  {name}: difference max {row["max"]:.3g}, mean {row["mean"]:.3g}, '
            f'rms {row["rms"]:.3g}, correlation {shown}'
        )
    first = comparison['first_divergence']
    if first is not None:
        print(
            f'  first beyond {comparison["tolerance"]:g}: at {first["seconds"]:.3f} s (command '
            f'{first["index"]}) {first["dimension"]} is {first["ours"]:.6g}, there '
            f'{first["theirs"]:.6g}'
        )


def _first(given: float | None, default: float) -> float:
    return default if given is None else given


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 60.0:
        raise argparse.ArgumentTypeError('must be between 0 and 60 seconds')
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='replay',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('bag', type=Path, help='folder of a bag, or one .mcap or .db3 file')
    add('--output', type=Path, default=Path('out/replay'), metavar='FOLDER',
        help='for bag and report.json (default: %(default)s)')
    add('--params-file', type=Path, metavar='FILE', help="the planner's parameters")
    add('--param', action='append', default=[], metavar='NAME:=VALUE',
        help='one parameter; may be repeated')
    add('--image-topic', nargs='+', metavar='TOPIC',
        help='one for each camera of the model, in its order (default: image, or image/<camera> '
        'where there are several)')
    add('--proprioception-topic', default='proprioception', metavar='TOPIC',
        help='of models that have it (default: %(default)s)')
    add('--goal-topic', default='goal_image', metavar='TOPIC', help='(default: %(default)s)')
    add('--goal', type=Path, metavar='IMAGE',
        help='an image that is the goal from the beginning, in place of the goals in the bag')
    add('--clock', choices=('log', 'stamp'), default='log',
        help='time is when messages were recorded, or the stamps in them (default: %(default)s)')
    add('--planning-delay', type=_seconds, metavar='S',
        help='from the start of planning to the first new action (default: the parameter)')
    add('--replan-period', type=_seconds, metavar='S',
        help='from one replan to the next at least (default: the planning delay)')
    add('--dtype', choices=tuple(DTYPES), default='float32', help='(default: %(default)s)')
    add('--storage', choices=('mcap', 'sqlite3'), default='mcap',
        help='of the bag that is written (default: %(default)s)')
    add('--compress', action='store_true', help='compress it with zstd')
    add('--compare', type=Path, metavar='OTHER_BAG',
        help='a bag with commands: report where they part and by how much')
    add('--command-topic', default='command', metavar='TOPIC',
        help='of OTHER_BAG (default: %(default)s)')
    add('--tolerance', type=float, default=0.0, metavar='X',
        help="largest allowed difference, the action's units (default: %(default)s)")
    return parser


class Stopwatch:
    """A timer of the core that takes the solves out of laps; one thread only."""

    def __init__(self) -> None:
        """Start the first lap."""
        self._solving = [0.0, 0.0]
        self._began = self._now()

    @contextmanager
    def __call__(self, phase: str, image_ns: int = 0) -> Iterator[None]:
        """See `grasp_ros.control.timing.Timer`."""
        began = self._now()
        try:
            yield
        finally:
            if phase == 'plan':
                for index, (before, after) in enumerate(zip(began, self._now(), strict=True)):
                    self._solving[index] += after - before

    def lap(self) -> tuple[float, float]:
        """End a lap: its seconds outside the solves, by the wall clock and of this thread's CPU."""
        now = self._now()
        wall, cpu = (
            after - before - solving
            for after, before, solving in zip(now, self._began, self._solving, strict=True)
        )
        self._began, self._solving = now, [0.0, 0.0]
        return wall, cpu

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()


if __name__ == '__main__':
    sys.exit(main())
