"""One planner process after another, the robot that the harness plays, and who judges them."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from grasp_ros.control.types import State
from grasp_ros.models.checkpoint import find_model, read_manifest
from grasp_ros.tools.demo.processes import Child
from system.faults.camera import PERIOD_S, ScriptedCamera
from system.faults.client import PlannerClient
from system.faults.observer import Observer, speed
from system.faults.orders import Orders

MODEL = 'two_room'
PLANNER = 'system.faults.faulty_planner'
ROBOT = 'grasp_ros.tools.sim_robot'
PATIENCE_S = 20.0
SLICE_S = 0.05
LOG_LINE = re.compile(r'\[\w+\] \[(\d+\.\d+)\]')
SEED = 2
"""An episode through the door: nothing is reached before a fault has been watched."""


class StageError(RuntimeError):
    """What a scenario waits for does not happen; the message is for people."""


class PlannerTestBench:
    """Brings a planner to where it drives the robot, as often as scenarios ask for it."""

    def __init__(
        self,
        folder: Path,
        check: Callable[[], None] = lambda: None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            folder: for logs, orders and a copy of the model; made anew.
            check: called again and again while waiting; raises where somebody wants an end.
            values: parameters of the planner in every scenario that does not set them itself.
        """
        self.folder = folder
        self._check = check
        self._exit = ExitStack()
        self._starts = 0
        self._defaults = {'goal_tolerance': 0.0, **(values or {})}
        self._values: dict[str, Any] | None = None
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.model = folder / 'model'
        shutil.rmtree(self.model, ignore_errors=True)
        shutil.copytree(find_model(MODEL), self.model)
        self.orders = Orders(folder)
        self.orders.withdraw()

    def __enter__(self) -> PlannerTestBench:
        """Start the first planner, and join its ROS graph."""
        try:
            self.start_planner()
            self._join()
            self.client.meet()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the graph and end every process."""
        self.close()

    def close(self) -> None:
        """Leave the graph and end every process."""
        self._exit.close()
        if self.child is not None:
            self.child.stop()

    def _join(self) -> None:
        context = rclpy.Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        self._exit.callback(rclpy.try_shutdown, context=context)
        self.node = Node('faults', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._exit.callback(self.node.destroy_node)
        self._exit.callback(self._executor.shutdown, timeout_sec=1.0)
        space = read_manifest(self.model).action_space
        self.observer = Observer(self.node, space.low, space.high)
        self.camera = ScriptedCamera(self.node)
        self.observer.on_command = self.camera.obey
        self.client = PlannerClient(self.node, self.wait)

    # Processes.

    def start_planner(self) -> None:
        """Start a planner process; `meet` it before it is asked for anything."""
        self._starts += 1
        log = self.folder / f'planner_{self._starts}.log'
        self.child = Child('planner', PLANNER, ['--orders', str(self.folder)], log)
        self._values = None

    def restart_planner(self) -> None:
        """Start a new planner after the last one has ended."""
        if self.child is not None:
            self.child.stop()
        self.start_planner()
        self.client.meet()

    def end_planner(self, number: signal.Signals) -> tuple[float, int]:
        """Send the planner a signal and wait until it has ended.

        Returns:
            When the signal was sent, on the monotonic clock, and the exit status.
        """
        child, self.child = self.planner, None
        sent_s = time.monotonic()
        child.send_signal(number)
        self.wait(lambda: child.status is not None, PATIENCE_S, 'the planner does not end')
        assert child.status is not None
        return sent_s, child.status

    @property
    def planner(self) -> Child:
        """The planner's process."""
        if self.child is None:
            raise StageError('no planner runs')
        return self.child

    @contextmanager
    def process(self, name: str, module: str, *arguments: str) -> Iterator[Child]:
        """Another process; it ends with the block."""
        child = Child(name, module, arguments, self.folder / f'{name}.log')
        try:
            yield child
        finally:
            child.stop()

    # Waiting.

    @property
    def now_s(self) -> float:
        """Now, on the monotonic clock."""
        return time.monotonic()

    def spin(self, seconds: float) -> None:
        """Let time pass."""
        self.until(lambda: False, seconds)

    def until(self, predicate: Callable[[], Any], timeout_s: float) -> bool:
        """Spin until `predicate()` is true; False if that takes too long."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            self._check()
            if self.child is not None:
                self.child.check()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(SLICE_S, left_s))
        return True

    def wait(self, predicate: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Spin until `predicate()` is true.

        Raises:
            StageError: saying that `what` after so long.
        """
        if not self.until(predicate, timeout_s):
            state = self.observer.statuses[-1].message if self.observer.statuses else None
            told = f'; the last status: {State(state.state).name} {state.reason}' if state else ''
            raise StageError(f'{what} within {timeout_s:g} s{told}')

    def logged(self, since_s: float, text: str) -> float:
        """Wait until the planner logs `text` after that time.

        Returns:
            When it did, by the time in its log, on the monotonic clock.
        """
        offset_s = time.time() - time.monotonic()

        def found() -> float | None:
            for line in self.planner.log.read_text(errors='replace').splitlines():
                logged = LOG_LINE.match(line)
                if logged and text in line and float(logged[1]) - offset_s >= since_s:
                    return float(logged[1]) - offset_s
            return None

        self.wait(found, PATIENCE_S, f'{text!r} was not logged')
        found_s = found()
        assert found_s is not None
        return found_s

    # The planner's life.

    def activate(self, values: Mapping[str, Any] | None = None, seed: int = SEED) -> float:
        """Active with these parameters, knowing nothing; the camera is silent at the start.

        Returns:
            When activation was asked for, on the monotonic clock.
        """
        wanted = {'model': str(self.model), **self._defaults, **(values or {})}
        self.orders.withdraw()
        self.camera.reset(seed)
        if self.child is None:
            self.restart_planner()
        if wanted == self._values:
            if not self.client.deactivate():
                raise StageError('the planner cannot be deactivated')
        else:
            self._configure(wanted)
        # What was on its way must have come before it is forgotten.
        self.spin(PERIOD_S)
        self.observer.clear()
        asked_s = time.monotonic()
        if not self.client.activate():
            raise StageError('the planner cannot be activated')
        self.wait(lambda: self.camera.matched, PATIENCE_S, 'nobody subscribes to the camera')
        return asked_s

    def run(self, values: Mapping[str, Any] | None = None, seed: int = SEED) -> None:
        """Activate, show camera and goal, wait until the robot is driven."""
        self.activate(values, seed)
        self.camera.sending = True
        self.camera.goal()
        self.wait_running()
        self.spin(3 * PERIOD_S)

    def wait_running(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait for a command from now on that moves the robot."""
        self.wait(self.runs_since(time.monotonic()), timeout_s, 'the planner does not drive')

    def runs_since(self, time_s: float) -> Callable[[], bool]:
        """Whether the robot was driven at that time or later, by a node that says so."""
        return lambda: (
            self.observer.status_since(time_s, State.RUNNING) is not None
            and any(speed(a.message) > 0 for a in self.observer.commands_since(time_s))
        )

    def abandon(self) -> None:
        """After a scenario that failed: the next one gets a new planner."""
        if self.child is not None:
            self.child.stop()
        self.child = None
        self.observer.listen(True)

    def forget_configuration(self) -> None:
        """Configure anew before the next scenario, whatever its parameters."""
        self._values = None

    def _configure(self, wanted: dict[str, Any]) -> None:
        self._values = None
        if not self.client.unconfigure():
            raise StageError('the planner cannot be cleaned up')
        refused = self.client.set_only(wanted)
        if refused:
            raise StageError(f'parameters refused: {"; ".join(refused)}')
        if not self.client.configure():
            raise StageError(f'the planner cannot be configured.\n{self.planner.log_tail()}')
        self._values = wanted

    def after_a_picture(self) -> float:
        """Wait until half a camera period after a picture: where a fault of omission begins.

        Returns:
            That moment, on the monotonic clock.
        """
        seen = len(self.camera.sent)
        self.wait(lambda: len(self.camera.sent) > seen, PATIENCE_S, 'the camera sent nothing')
        self.spin(PERIOD_S / 2 - (time.monotonic() - self.camera.sent[-1][0]))
        return time.monotonic()
