"""Watchdog of an active node: what the controller cannot see, and reasons to stop it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import State
from grasp_ros.models.sensors import image_topic
from grasp_ros.node.configuration import Configuration
from grasp_ros.node.live_parameters import LiveParameters
from grasp_ros.node.planning_thread import PlanningThread

CHECK_S = 0.5


class Watchdog:
    """Monitors of one activation; they use the steady clock and the executor's thread.

    Attributes:
        images_refused: since activation.
        late: solves since activation.
    """

    def __init__(
        self,
        node: LifecycleNode,
        configuration: Configuration,
        parameters: LiveParameters,
        thread: PlanningThread,
        tick: Callable[[int], None],
    ) -> None:
        """Begin to watch.

        Args:
            node: logs, and knows clock and graph.
            configuration: of the node.
            parameters: of the node.
            thread: may hang.
            tick: makes a control tick at a time (ns) where the simulated clock cannot.
        """
        self._node, self._stack, self._thread = node, configuration.stack, thread
        self._command, self._files = configuration.topics.command, configuration.files
        self._parameters, self._tick = parameters, tick
        self.images_refused = 0
        self.late = DeadlineMissCounter()
        cameras = self._stack.controller.inputs.cameras
        self._kinds = {camera: ImageFormatMonitor() for camera in cameras}
        self._conflict, self._unheard = Debounce(1, 2), Debounce(2, 2)
        self._unfamiliar, self._unseen = Debounce(1, 10), Debounce(4, 1)
        self._state: State | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [node.create_timer(CHECK_S, self._check, clock=steady)]
        if node.get_parameter('use_sim_time').value:
            now_ns = node.get_clock().now().nanoseconds
            self._clock = ClockStallMonitor(now_ns, time.monotonic_ns())
            period_s = 1.0 / self._stack.manifest.control_rate
            self._timers.append(node.create_timer(period_s, self._check_clock, clock=steady))

    def destroy(self) -> None:
        """Watch no longer."""
        for timer in self._timers:
            self._node.destroy_timer(timer)

    def ticked(self, state: State) -> None:
        """Take the state of a control tick."""
        self._state = state

    def watch_thread(self) -> None:
        """See whether the planning thread hangs; before each control tick decides."""
        limit = self._parameters.current.planner.hang_timeout
        busy = self._thread.busy_s
        hangs = 0 < limit < busy
        self._stack.controller.hold(
            'hang',
            State.PLANNER_ERROR if hangs else None,
            f'planner hangs: one solve takes {busy:.1f} s, planner.hang_timeout is {limit:.1f} s',
        )

    def image(self, camera: str, kind: str) -> None:
        """Take the size and encoding of a camera's image that can be decoded."""
        change = self._kinds[camera].change(kind)
        if change:
            self._warn(change)

    def planned(self, report: PlanReport) -> None:
        """Take a replan's result; on the planning thread."""
        deadline_s = self._parameters.current.planner.deadline
        if report.plan is not None and self.late.add(report.plan.solve_time_s, deadline_s):
            self._warn(
                f'planning is too slow: half of the solves take longer than planner.deadline, '
                f'{deadline_s:.3f} s; {self.late.count} were late so far'
            )

        check = report.image_check
        if check and self._unfamiliar.update(check.unfamiliar) and check.unfamiliar:
            limit = self._parameters.current.max_novelty
            self._warn(
                f'the camera shows what the model hardly knows: novelty {check.novelty:.2f}; '
                f'the robot stops above max_novelty, {limit:.2f}'
            )

    def _check(self) -> None:
        params, topic = self._parameters.current, self._command.topic_name
        commands = not params.dry_run
        others = self._node.count_publishers(topic) - 1 if commands else 0
        reason = f'{others} other publishers on {topic}'
        if self._conflict.update(others > 0):
            self._warn(reason if others else f'no other publisher on {topic} any more')
        stop = self._conflict.state and params.command.conflict == 'stop'
        self._stack.controller.hold('conflict', State.CONFLICT if stop else None, reason)
        running = self._state is State.RUNNING
        alone = commands and running and not self._command.get_subscription_count()
        if self._unheard.update(alone) and alone:
            self._warn(f'nobody listens to {topic}: the commands have no effect')
        self._check_cameras()
        for path in self._files.changed():
            self._warn(
                f'{path} changed on disk: the node keeps the model that it has loaded; clean up '
                'and configure to load the new one'
            )

    def _check_cameras(self) -> None:
        inputs = self._stack.controller.inputs
        topics = [
            self._node.resolve_topic_name(image_topic(inputs, camera)) for camera in inputs.cameras
        ]
        waits = self._state is State.WAITING_IMAGE
        unseen = waits and all(map(self._node.count_publishers, topics))
        if self._unseen.update(unseen) and unseen:
            self._warn(
                f'a camera publishes on {" and on ".join(topics)}, but no image has arrived: '
                'either nothing is published, or its type or QoS differs (see '
                '`ros2 topic info --verbose`), or DDS loses large images (ask for them with '
                f'`qos_overrides.{topics[0]}.subscription.reliability: reliable` if the camera is '
                'reliable, or set config/large_images.xml of this package for it)'
            )

    def _check_clock(self) -> None:
        """Without simulated time no tick comes: then this timer makes them."""
        now_ns = self._node.get_clock().now().nanoseconds
        stood_ns = self._clock.stood(now_ns, time.monotonic_ns())
        limit = self._parameters.current.image_timeout
        stands = stood_ns / 1e9 > limit
        self._stack.controller.hold(
            'clock',
            State.STALE_IMAGE if stands else None,
            f'the clock stands still for {stood_ns / 1e9:.1f} s, image_timeout is {limit:.2f} s',
        )
        if stands:
            self._tick(now_ns + stood_ns)

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text)


class Debounce:
    """A condition that changes only after it was seen some times in a row."""

    def __init__(self, rise: int, fall: int) -> None:
        """Become true after `rise` times true, false after `fall` times false."""
        self._needed = {True: rise, False: fall}
        self._seen = 0
        self.state = False

    def update(self, seen: bool) -> bool:
        """Take the next observation; returns whether the state has changed."""
        self._seen = self._seen + 1 if seen != self.state else 0
        if self._seen < self._needed[seen]:
            return False
        self.state, self._seen = seen, 0
        return True


class ClockStallMonitor:
    """Goes on by a steady clock where a simulated one stands still."""

    def __init__(self, now_ns: int, steady_ns: int) -> None:
        """Begin to watch."""
        self._now_ns, self._since_ns = now_ns, steady_ns

    def stood(self, now_ns: int, steady_ns: int) -> int:
        """Nanoseconds for which the clock has been at `now_ns`, 0 where it has just moved."""
        if now_ns != self._now_ns:
            self._now_ns, self._since_ns = now_ns, steady_ns
        return steady_ns - self._since_ns


class DeadlineMissCounter:
    """Counts solves that took longer than they may.

    Attributes:
        count: of all.
    """

    ALLOWANCE = 1.1
    WINDOW = 20

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        self._recent: deque[bool] = deque(maxlen=self.WINDOW)
        self._many = False

    def add(self, seconds: float, deadline_s: float) -> bool:
        """Count a solve; returns whether half of the recent ones have come to be late.

        It says so once, and again only after nearly all were in time.

        Args:
            seconds: that it took.
            deadline_s: that it may take; 0 for no deadline.
        """
        late = deadline_s > 0 and seconds > self.ALLOWANCE * deadline_s
        self.count += late
        self._recent.append(late)
        share = sum(self._recent) / self.WINDOW
        before, self._many = self._many, share > (0.1 if self._many else 0.5)
        return self._many and not before


class ImageFormatMonitor:
    """Notices images of another size or encoding."""

    def __init__(self) -> None:
        """Begin without images."""
        self._kind: str | None = None

    def change(self, kind: str) -> str:
        """The warning at an image of this kind; empty for the first and for one as before."""
        before, self._kind = self._kind, kind
        if before in (None, kind):
            return ''
        return f'the camera changed from {before} to {kind}; its images are resized as before'
