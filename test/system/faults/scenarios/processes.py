"""Scenarios: signals to each process."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray

from grasp_ros.control.types import State
from grasp_ros.tools.demo.bench import START_S, BenchError, speed
from grasp_ros.tools.demo.processes import Child
from system.faults.bench import PATIENCE_S, ROBOT, SEED, PlannerTestBench
from system.faults.scenario import Outcome, Scenario, drives_again, stopped

LEASE_S = 40.0
"""For a planner that was killed to vanish from the graph: DDS takes 20 s."""
MOVED_M = 0.05


def _planner_ends(bench: PlannerTestBench, number: signal.Signals) -> Outcome:
    bench.run()
    sent_s, status = bench.end_planner(number)
    bench.spin_for(0.2)
    commands = bench.commands
    if status != 0:
        raise BenchError(f'the planner ended with status {status}')
    stops = [a for a in bench.commands_since(sent_s) if not speed(a.message)]
    if not stops or speed(commands[-1].message):
        raise BenchError('the last command is not the stop')
    bench.run()
    return Outcome(stops[0].time_s - sent_s, True)


@contextmanager
def _robot(bench: PlannerTestBench) -> Iterator[Child]:
    with bench.process('sim_robot', ROBOT, '--ros-args', '-p', f'seed:={SEED}') as child:
        yield child


def _robot_ends(bench: PlannerTestBench, number: signal.Signals) -> Outcome:
    bench.begin()
    with _robot(bench) as child:
        bench.wait_running(START_S)
        bench.spin_for(0.5)
        fault_s = time.monotonic()
        child.send_signal(number)
        reaction_s = stopped(bench, fault_s, State.STALE_IMAGE)
        bench.wait(lambda: child.status is not None, PATIENCE_S, 'sim_robot does not end')
        status = child.status
    wanted = -number if number is signal.SIGKILL else 0
    if status != wanted:
        raise BenchError(f'sim_robot ended with status {status}, not {wanted}')
    with _robot(bench):
        return Outcome(reaction_s, drives_again(bench, START_S))


class _Poses:
    """Where the simulated robot really is, and since when (monotonic seconds)."""

    def __init__(self, bench: PlannerTestBench) -> None:
        self.arrivals: list[tuple[float, NDArray[np.float64]]] = []
        self._subscription = bench.node.create_subscription(
            PoseStamped, 'ground_truth/pose', self._on_pose, 10
        )
        self._node = bench.node

    def _on_pose(self, message: PoseStamped) -> None:
        place = message.pose.position
        self.arrivals.append((time.monotonic(), np.array([place.x, place.y])))

    def moved(self) -> bool:
        """Whether the robot has been driven visibly."""
        places = [place for _, place in self.arrivals]
        return bool(places) and bool(np.abs(places[-1] - places[0]).max() > MOVED_M)

    def standing_since(self) -> float:
        """When the last pose that differs from the one before it came."""
        standing_s = self.arrivals[0][0]
        for (_, before), (time_s, place) in zip(self.arrivals, self.arrivals[1:], strict=False):
            if not np.array_equal(before, place):
                standing_s = time_s
        return standing_s

    def close(self) -> None:
        """No longer listen."""
        self._node.destroy_subscription(self._subscription)


def _planner_is_killed(bench: PlannerTestBench) -> Outcome:
    poses = _Poses(bench)
    try:
        bench.begin()
        with _robot(bench):
            bench.wait(poses.moved, START_S, 'the robot was not driven')
            sent_s, _ = bench.end_planner(signal.SIGKILL)
            bench.spin_for(1.5)
            reaction_s = poses.standing_since() - sent_s
            if bench.commands_since(poses.standing_since()):
                raise BenchError('a command came after the end of the planner')
            bench.begin()
            return Outcome(reaction_s, drives_again(bench, LEASE_S))
    finally:
        poses.close()


SCENARIOS: dict[str, Scenario] = {
    'planner gets SIGINT': partial(_planner_ends, number=signal.SIGINT),
    'planner gets SIGTERM': partial(_planner_ends, number=signal.SIGTERM),
    'robot gets SIGINT': partial(_robot_ends, number=signal.SIGINT),
    'robot gets SIGTERM': partial(_robot_ends, number=signal.SIGTERM),
    'robot gets SIGKILL': partial(_robot_ends, number=signal.SIGKILL),
    'planner gets SIGKILL': _planner_is_killed,
}
