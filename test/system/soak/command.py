"""The command `soak`: simulated robot and planner for a long time, goal after goal, and watched.

Real processes over DDS, on two cores. The model that comes along is for 10 Hz; at 20 Hz it drives
a robot twice as fast: same weights, steps of half the time, twice the velocities in manifest and
simulated robot, so that the motion per step is what the model has learned.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from ament_index_python.packages import get_package_share_directory
from geometry_msgs.msg import TwistStamped
from rclpy.executors import Executor
from rclpy.node import Node

from grasp_ros.models.checkpoint import find_model, read_manifest
from grasp_ros.msg import PlanStatus
from grasp_ros.sim.success import ReachMonitor, Rules
from grasp_ros.tools.demo.bench import BenchError, ros_node
from grasp_ros.tools.demo.client import DemoClient
from grasp_ros.tools.demo.processes import NODE_MODULES, ChildDiedError, Interrupted, Watch
from system.soak.faster import write_faster
from system.soak.report import Conditions, Samples, save_plot, soak_report, summary

MODULES = {**NODE_MODULES, 'large_camera': 'harness.large_camera'}
MODEL = 'two_room'
CORES = 2
FIRST_SEED = 1000
MEMORY_PERIOD_S = 1.0
WARM_UP_SHARE, MAX_WARM_UP_S = 0.5, 180.0
TOLERANCE = 1e-6
HORIZON = 50
TRACE = 'trace.json'
LARGE_IMAGES = 'large_images.xml'


class SoakClient(DemoClient):
    """Notes every command, every status and the planner's memory, while episodes go on."""

    def __init__(
        self,
        node: Node,
        executor: Executor,
        watch: Watch,
        samples: Samples,
        rate: float,
        limit: float,
    ) -> None:
        """Subscribe; `limit` is the largest velocity allowed, m/s."""
        super().__init__(node, executor, self._look, imagined=False)
        self._watch, self._samples, self._limit = watch, samples, limit
        self._period_s = 1.0 / rate
        self._arrived_ns: int | None = None
        self._start_s = time.monotonic()
        self._looked_s = -MEMORY_PERIOD_S
        self.listen()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start, which `begin` sets."""
        return time.monotonic() - self._start_s

    def begin(self) -> None:
        """Time counts from now on; what was seen before is forgotten."""
        self._start_s = time.monotonic()
        self._looked_s = -MEMORY_PERIOD_S
        seen = self._samples
        for series in (seen.memory, seen.ticks, seen.arrivals, seen.image_to_command):
            series.clear()

    def _look(self) -> None:
        """Called again and again while waiting: sample the memory of the planner."""
        self._watch.check()
        if self.elapsed_s - self._looked_s < MEMORY_PERIOD_S:
            return
        self._looked_s = self.elapsed_s
        self._samples.memory.append((self.elapsed_s, resident_bytes(self._watch.children[-1].pid)))

    def on_status(self, message: PlanStatus) -> None:
        """Note it."""
        super().on_status(message)
        self._samples.ticks.append((self.elapsed_s, message.jitter, message.missed))
        self._samples.device, self._samples.execution = message.device, message.execution
        if message.state == PlanStatus.RUNNING:
            self._samples.image_to_command.append((self.elapsed_s, message.plan_age))
        self._samples.prediction_errors.append(message.prediction_error)

    def on_command(self, message: TwistStamped, information: dict[str, Any]) -> None:
        """Judge it, and when it came."""
        # When DDS took it: what this process does meanwhile is not the planner's jitter.
        arrived_ns, previous_ns = information['received_timestamp'], self._arrived_ns
        self._arrived_ns = arrived_ns
        if previous_ns is not None:
            off_s = abs((arrived_ns - previous_ns) / 1e9 - self._period_s)
            self._samples.arrivals.append((self.elapsed_s, off_s))
        linear = message.twist.linear
        velocity = np.array([linear.x, linear.y])
        if not (np.abs(velocity) <= self._limit * (1 + TOLERANCE)).all():
            self._samples.bad_commands.append(f'{self.elapsed_s:.2f} s: {velocity.tolist()}')


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (Linux)."""
    pages = Path(f'/proc/{pid}/statm').read_text().split()[1]
    return int(pages) * os.sysconf('SC_PAGE_SIZE')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0 where it held, 1 where not, 130 after Ctrl-C.
    """
    options = _parse(arguments)
    watch = Watch()
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    options.output.mkdir(parents=True, exist_ok=True)
    samples = Samples()
    conditions = Conditions(
        duration_s=options.duration,
        warm_up_s=min(WARM_UP_SHARE * options.duration, MAX_WARM_UP_S),
        control_rate=options.rate,
        short=options.short,
        cores=_use_few_cores(),
        flood_hz=options.flood,
    )
    status = 0
    try:
        _perform(options, samples, watch)
    except Interrupted:
        status = 128 + (watch.signal or 0)
    except (BenchError, ChildDiedError) as error:
        samples.crash = str(error)
    report = soak_report(samples, conditions)
    (options.output / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    save_plot(options.output / 'soak.png', samples, conditions)
    print(f'{summary(report)}\nWrote {options.output}/report.json and soak.png')
    return status or int(not report['holds'])


def _perform(options: argparse.Namespace, samples: Samples, watch: Watch) -> None:
    """Start everything, drive until the time is over, end everything."""
    factor = options.rate / read_manifest(find_model(MODEL)).control_rate
    with ExitStack() as stack:
        model = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_faster(find_model(MODEL), model, options.rate)
        for name, given in _nodes(options, model, factor).items():
            log = options.output / f'{name}.log'
            stack.enter_context(watch.child(name, MODULES[name], ['--ros-args', *given], log))
        node, executor = stack.enter_context(ros_node('soak'))
        client = SoakClient(node, executor, watch, samples, options.rate, factor)
        client.bring_up(watch.children[-1])
        client.begin()
        _drive(client, samples, options.duration)
        samples.solve_times_s = client.timing.solve_times_s
    if options.flood:
        samples.phases_ms = durations(options.output / TRACE)


def _nodes(options: argparse.Namespace, model: Path, factor: float) -> dict[str, list[str]]:
    """ROS arguments of each process by its name, the planner's last."""
    period_s = 1.0 / options.rate
    values: dict[str, dict[str, Any]] = {
        'sim_robot': {'max_speed': factor, 'image_rate': options.rate, 'seed': FIRST_SEED},
        'planner': {
            'model': model,
            'device': options.device,
            'control_rate': options.rate,
            'planning_delay': period_s,
            'planner.horizon': HORIZON,
            'planner.deadline': 0.8 * period_s,
        },
    }
    if options.short:  # each new horizon takes memory once: too long to wait for here
        values['planner']['planner.horizon_mode'] = 'fixed'
    if options.flood:
        share = Path(get_package_share_directory('grasp_ros'))
        os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] = str(share / 'config' / LARGE_IMAGES)
        values['planner']['trace_file'] = options.output / TRACE
        values = {'large_camera': {'rate': options.flood}, **values}
    nodes = {
        name: [part for key in own for part in ('-p', f'{key}:={own[key]}')]
        for name, own in values.items()
    }
    if options.flood:
        nodes['planner'] += ['-r', 'image:=large_image']
    return nodes


def durations(trace: Path) -> dict[str, list[float]]:
    """How long each phase took each time, in milliseconds, by a latency trace of the planner."""
    found: dict[str, list[float]] = {}
    for event in json.loads(trace.read_text()):
        if event['ph'] == 'X':
            found.setdefault(event['name'], []).append(event['dur'] / 1e3)
    return found


def _drive(client: SoakClient, samples: Samples, duration_s: float) -> None:
    """Episode after episode until the time is over."""
    rules = Rules.for_horizon(HORIZON)
    for seed in count(FIRST_SEED):
        start = client.start_episode(seed)
        judge = ReachMonitor(seed, start.through_door, start.goal_px, rules)
        samples.episodes += 1
        while not judge.ended:
            judge.update(client.next_tick().position_px)
            if client.elapsed_s > duration_s:
                return
        samples.reached += judge.reached


def _use_few_cores() -> int:
    """Bind this process, and with it its children, to two cores; how many there are."""
    with contextlib.suppress(AttributeError):  # other systems than Linux
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        os.sched_setaffinity(0, cores)
        return len(cores)
    return os.cpu_count() or 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='soak', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--duration', type=float, default=1800.0, metavar='S', help='seconds, default 1800'
    )
    parser.add_argument('--rate', type=float, default=20.0, metavar='HZ', help='default 20')
    parser.add_argument(
        '--short',
        action='store_true',
        help='judge crashes, commands and memory (5 %% in place of 1 %%), not time: for busy '
        'machines; the horizon is fixed',
    )
    parser.add_argument(
        '--flood',
        type=float,
        default=0.0,
        metavar='HZ',
        help='send the planner pictures of 1280 x 720 at this rate, several cameras in one; judges '
        'growth of memory as --short does',
    )
    parser.add_argument('--device', default='auto', help='of the planner, default auto')
    parser.add_argument('--output', type=Path, default=Path('out/soak'), help='default out/soak')
    options = parser.parse_args(arguments)
    if not options.duration >= 5:
        parser.error(f'--duration {options.duration:g}: at least 5 s')
    if not 1 <= options.rate <= 200:
        parser.error(f'--rate {options.rate:g}: between 1 and 200 Hz')
    if not (options.flood == 0 or 1 <= options.flood <= 1000):
        parser.error(f'--flood {options.flood:g}: between 1 and 1000 Hz')
    return options


if __name__ == '__main__':
    sys.exit(main())
