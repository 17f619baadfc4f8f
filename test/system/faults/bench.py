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

import numpy as np
from geometry_msgs.msg import TwistStamped

from grasp_ros.control.types import State
from grasp_ros.models.checkpoint import find_model, read_manifest
from grasp_ros.ros.ros_messages import stamp_ns
from grasp_ros.tools.demo.bench import BenchError, PlannerBench, ros_node, speed
from grasp_ros.tools.demo.processes import Child
from harness.camera import PERIOD_S
from system.faults.camera import ScriptedCamera
from system.faults.injector import FaultInjector

MODEL = 'two_room'
PLANNER = 'system.faults.faulty_planner'
ROBOT = 'grasp_ros.tools.sim_robot'
PATIENCE_S = 20.0
LOG_LINE = re.compile(r'\[\w+\] \[(\d+\.\d+)\]')
SEED = 2
"""An episode through the door: nothing is reached before a fault has been watched."""
INTRUDER = 'intruder'
"""Frame of commands that are not the planner's."""
TOLERANCE = 1e-9


class PlannerTestBench(PlannerBench):
    """Brings a planner to where it drives the robot, as often as scenarios ask for it.

    Attributes:
        folder: of logs, and of all that is shared with the planner.
        model: a copy of the model.
        camera: what the planner sees; the robot below it obeys.
        injector: of faults in the planner's process.
        child: that process, or None.
        violations: commands that were out of limits; never forgotten.
    """

    def __init__(
        self,
        folder: Path,
        check: Callable[[], None] = lambda: None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Start the first planner, and join its ROS graph.

        Args:
            folder: for logs, faults and a copy of the model; made anew.
            check: called again and again while waiting; raises where somebody wants an end.
            values: parameters of the planner in every scenario that does not set them itself.
        """
        self.folder = folder
        self._exit = ExitStack()
        self._starts = 0
        self._defaults = {'goal_tolerance': 0.0, **(values or {})}
        self._values: dict[str, Any] | None = None
        self.child: Child | None = None
        self.violations: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.model = folder / 'model'
        shutil.rmtree(self.model, ignore_errors=True)
        shutil.copytree(find_model(MODEL), self.model)
        space = read_manifest(self.model).action_space
        self._low, self._high = space.low - TOLERANCE, space.high + TOLERANCE
        self.injector = FaultInjector(folder)
        self.injector.withdraw()
        self.start_planner()
        super().__init__(*self._exit.enter_context(ros_node('faults')), check)
        self.watch_plans()
        self.listen()
        self.camera = ScriptedCamera(self.node)

    def __enter__(self) -> PlannerTestBench:
        """Meet the planner."""
        try:
            self.meet()
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

    # Processes.

    def start_planner(self) -> None:
        """Start a planner process; `meet` it before it is asked for anything."""
        self._starts += 1
        log = self.folder / f'planner_{self._starts}.log'
        self.child = Child('planner', PLANNER, ['--faults', str(self.folder)], log)
        self._values = None

    def restart_planner(self) -> None:
        """Start a new planner after the last one has ended."""
        if self.child is not None:
            self.child.stop()
        self.start_planner()
        self.meet()

    def restart_next(self) -> None:
        """After a scenario that failed: the next one gets a new planner."""
        if self.child is not None:
            self.child.stop()
        self.child = None
        self.listen()

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
            raise BenchError('no planner runs')
        return self.child

    @contextmanager
    def process(self, name: str, module: str, *arguments: str) -> Iterator[Child]:
        """Another process; it ends with the block."""
        child = Child(name, module, arguments, self.folder / f'{name}.log')
        try:
            yield child
        finally:
            child.stop()

    # What comes.

    def on_command(self, message: TwistStamped, information: dict[str, Any]) -> None:
        """Judge the planner's command and obey it."""
        if message.header.frame_id == INTRUDER:
            return
        super().on_command(message, information)
        twist = message.twist
        values = np.array([twist.linear.x, twist.linear.y])
        rest = (twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z)
        # Negated, so that NaN is a violation.
        if not ((self._low <= values).all() and (values <= self._high).all()) or any(rest):
            self.violations.append(f'command {values.tolist()} {rest} is out of limits')
        self.camera.obey(message)

    def states_since(self, time_s: float) -> set[State]:
        """States reported since that time."""
        return {State(a.message.state) for a in self.statuses if a.time_s >= time_s}

    def planned_from_since(self, stamp: int) -> bool:
        """Whether a plan came that was made from an image of that stamp (ns) or a later one."""
        return any(stamp_ns(a.message.observation_stamp) >= stamp for a in self.plans)

    # Waiting.

    @property
    def now_s(self) -> float:
        """Now, on the monotonic clock."""
        return time.monotonic()

    def spin_until(self, predicate: Callable[[], Any], timeout_s: float) -> bool:
        """See `PlannerBench`; a planner that has ended is an error."""

        def due() -> Any:
            if self.child is not None:
                self.child.check()
            return predicate()

        return super().spin_until(due, timeout_s)

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

    def begin(self, values: Mapping[str, Any] | None = None, seed: int = SEED) -> float:
        """Active with these parameters, knowing nothing; the camera is silent at the start.

        Returns:
            When activation was asked for, on the monotonic clock.
        """
        wanted = {'model': str(self.model), **self._defaults, **(values or {})}
        self.injector.withdraw()
        self.camera.reset(seed)
        if self.child is None:
            self.restart_planner()
        if wanted == self._values:
            if self.life == 'active' and not self.deactivate():
                raise BenchError('the planner cannot be deactivated')
        else:
            self._configure(wanted)
        # What was on its way must have come before it is forgotten.
        self.spin_for(PERIOD_S)
        self.clear()
        asked_s = time.monotonic()
        if not self.activate():
            raise BenchError('the planner cannot be activated')
        self.wait(lambda: self.camera.matched, PATIENCE_S, 'nobody subscribes to the camera')
        return asked_s

    def run(self, values: Mapping[str, Any] | None = None, seed: int = SEED) -> None:
        """Activate, show camera and goal, wait until the robot is driven."""
        self.begin(values, seed)
        self.camera.sending = True
        self.camera.goal()
        self.wait_running()
        self.spin_for(3 * PERIOD_S)

    def wait_running(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait for a command from now on that moves the robot."""
        self.wait(self.runs_since(time.monotonic()), timeout_s, 'the planner does not drive')

    def runs_since(self, time_s: float) -> Callable[[], bool]:
        """Whether the robot was driven at that time or later, by a node that says so."""
        return lambda: (
            self.status_since(time_s, State.RUNNING) is not None
            and any(speed(a.message) > 0 for a in self.commands_since(time_s))
        )

    def forget_configuration(self) -> None:
        """Configure anew before the next scenario, whatever its parameters."""
        self._values = None

    def _configure(self, wanted: dict[str, Any]) -> None:
        self._values = None
        if not self.unconfigure():
            raise BenchError('the planner cannot be cleaned up')
        refused = self.set_only(wanted)
        if refused:
            raise BenchError(f'parameters refused: {"; ".join(refused)}')
        if not self.configure():
            raise BenchError(f'the planner cannot be configured.\n{self.planner.log_tail()}')
        self._values = wanted

    def after_an_image(self) -> float:
        """Wait until half a camera period after an image: where a fault of omission begins.

        Returns:
            That moment, on the monotonic clock.
        """
        seen = len(self.camera.sent)
        self.wait(lambda: len(self.camera.sent) > seen, PATIENCE_S, 'the camera sent nothing')
        self.spin_for(PERIOD_S / 2 - (time.monotonic() - self.camera.sent[-1][0]))
        return time.monotonic()
