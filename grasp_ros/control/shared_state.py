"""State shared by the planning thread and the command thread, behind one lock.

Each change of goal, activation or time begins an epoch. What the planning thread finds out names
the epoch that it started from, and is void in any other.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from grasp_ros.control.observation import Goal, SensorData, StampedObservation
from grasp_ros.control.timed_plan import CommandHistory, TimedPlan, still_needed
from grasp_ros.control.types import NANOSECONDS, State
from grasp_ros.models.sensors import RgbImage

Fault = tuple[State, str]
"""Reason to stop: the state to report, and a text for people."""


@dataclass(frozen=True, eq=False)
class StateSnapshot:
    """State that a replan starts from.

    Attributes:
        epoch: of all of this.
        frames: to plan from, in the order of their stamps.
        bad_image: why those before must not be driven by; empty where they may.
        forget_images: whether the image checks must forget the images before.
        goal: or None.
        plans: in force, newest first.
        enabled: False where the robot must stand.
        hold: why else it must stand, or None.
        reached: whether the goal counts as reached.
    """

    epoch: int
    frames: tuple[StampedObservation, ...]
    bad_image: str
    forget_images: bool
    goal: Goal | None
    plans: tuple[TimedPlan, ...]
    enabled: bool
    hold: Fault | None
    reached: bool


class SharedState:
    """Frames, goal, plans and faults; each method is one step, seen whole or not at all.

    Attributes:
        published: commands; written by the command thread, read by both.
        frames: to read only, as all that follow.
        goal: the present one, or None.
        goal_distance: of the newest image from it; NaN before it is known.
        plans: in force, newest first.
        plans_dropped: those that came too late for their epoch, since `reset`.
    """

    def __init__(self, memory_ns: int) -> None:
        """Begin with nothing known; frames matter for `memory_ns`."""
        self._lock = threading.Lock()
        self._memory_ns = memory_ns
        self._epoch = 0
        self._enabled = True
        self._holds: dict[str, Fault] = {}
        self._goals = 0
        self.published = CommandHistory()
        self.goal: Goal | None = None
        self.plans_dropped = 0
        self._forget()

    def _forget(self) -> None:
        """Start anew but for the goal; for holders of the lock."""
        self._epoch += 1
        self.frames = FrameBuffer(self._memory_ns)
        self._forget_images = True
        self.plans: tuple[TimedPlan, ...] = ()
        self._fault: Fault | None = None
        self._reached = False
        self.goal_distance = float('nan')

    # From the caller of the controller.

    def clear(self) -> None:
        """Forget frames, plans and faults; the goal stays."""
        with self._lock:
            self._forget()

    def reset(self) -> None:
        """Forget everything but whether the robot is enabled."""
        with self._lock:
            self._forget()
            self.goal = None
            self._holds.clear()
            self.plans_dropped = 0

    def enable(self, enabled: bool) -> None:
        """Stop and hold, or resume with a new plan."""
        with self._lock:
            self._enabled = enabled
            self._epoch += 1
            self.plans = ()
            self.frames.bad = ''
            self._forget_images = True
            if self._fault is not None and self._fault[0] is State.STALLED:
                self._fault = None

    def hold(self, key: str, state: State | None, reason: str) -> None:
        """Add the reason `key` to stop, or take it back with None."""
        with self._lock:
            held = bool(self._holds)
            if state is None:
                self._holds.pop(key, None)
            else:
                self._holds[key] = (state, reason)
            if held != bool(self._holds):
                self._epoch += 1
                self.plans = ()

    def add_frame(self, frame: StampedObservation, arrival_ns: int | None) -> None:
        """Take a frame and the time of its arrival."""
        with self._lock:
            self.frames.add(frame, arrival_ns)

    def set_goal(
        self, image: RgbImage, data: SensorData, tolerance: float | None, restart: bool
    ) -> bool:
        """Take a goal image and its split into the cameras' images; see `Controller.set_goal`."""
        if not restart and self.goal is not None and np.array_equal(self.goal.image, image):
            return False
        with self._lock:
            self._goals += 1
            self._replace_goal(Goal(self._goals, image, data, tolerance))
        return True

    def clear_goal(self) -> None:
        """Forget the goal and what was planned for it."""
        with self._lock:
            self._replace_goal(None)

    def _replace_goal(self, goal: Goal | None) -> None:
        """Void all that was found out for the goal before; for holders of the lock."""
        self.goal = goal
        self._epoch += 1
        self.plans = ()
        self._fault = None
        self._reached = False
        self.goal_distance = float('nan')

    def stop_reason(
        self, now_ns: int, steady_ns: int | None, image_timeout_s: float
    ) -> tuple[Fault | None, tuple[TimedPlan, ...]]:
        """Give the reason to stop, if any, and the plans that commands are taken from.

        Args:
            now_ns: present time of the stamps' clock.
            steady_ns: present time of the arrivals' clock, or None to go by stamps only.
            image_timeout_s: how old the newest usable frame may be.

        Returns:
            The reason, or None; the plans, newest first, empty where there is a reason.
        """
        with self._lock:
            if not self._enabled:
                return (State.DISABLED, 'disabled by the enable service'), ()
            if self._holds:
                return next(iter(self._holds.values())), ()
            unseen = self.frames.fault(now_ns, steady_ns, image_timeout_s)
            if unseen is not None:
                return unseen, ()
            if self.goal is None:
                return (State.WAITING_GOAL, 'no goal image received yet'), ()
            if self._fault is not None:
                return self._fault, ()
            if self._reached:
                return (State.REACHED, 'the goal is reached'), ()
            if not self.plans:
                return (State.PLANNING, 'no plan yet'), ()
            return None, self.plans

    # For and from the planning thread.

    def snapshot(self) -> StateSnapshot:
        """State to plan from."""
        with self._lock:
            forget_images, self._forget_images = self._forget_images, False
            return StateSnapshot(
                epoch=self._epoch,
                frames=self.frames.good(),
                bad_image=self.frames.bad,
                forget_images=forget_images,
                goal=self.goal,
                plans=self.plans,
                enabled=self._enabled,
                hold=next(iter(self._holds.values()), None),
                reached=self._reached,
            )

    def checked(self, epoch: int, stamp_ns: int, fault: str) -> None:
        """Take the result of the checks of the frame of that stamp; a fault voids the plans."""
        with self._lock:
            if epoch == self._epoch:
                self.frames.checked(stamp_ns, fault)
                if fault:
                    self.plans = ()

    def undecodable(self, epoch: int, reason: str) -> None:
        """Count no frame since the last decoded one until one can be decoded again."""
        with self._lock:
            if epoch == self._epoch:
                self.frames.undecodable(reason)

    def set_goal_distance(self, epoch: int, distance: float) -> None:
        """Take the goal distance of the newest image."""
        with self._lock:
            if epoch == self._epoch:
                self.goal_distance = distance

    def failed(self, epoch: int, state: State, reason: str) -> None:
        """Stop until a plan succeeds, or the goal counts as reached or is replaced."""
        with self._lock:
            if epoch == self._epoch:
                self._fault, self.plans = (state, reason), ()

    def arrived(self, epoch: int) -> None:
        """Count the goal as reached."""
        with self._lock:
            if epoch == self._epoch:
                self._reached, self._fault, self.plans = True, None, ()

    def accept(self, epoch: int, plan: TimedPlan, now_ns: int) -> bool:
        """Execute a plan made at `now_ns`; returns whether the epoch is still the same."""
        with self._lock:
            same = epoch == self._epoch
            if same:
                self.plans = (plan, *still_needed(self.plans, now_ns))
                self._fault, self._reached = None, False
            else:
                self.plans_dropped += 1
            return same


class FrameBuffer:
    """Frames since time began or jumped; its owner's lock guards it.

    Attributes:
        bad: why the robot must not be driven by the newest image checked; empty where it may.
    """

    def __init__(self, memory_ns: int) -> None:
        """Begin without frames; keep those at most `memory_ns` older than the newest."""
        self._memory_ns = memory_ns
        self._frames: deque[StampedObservation] = deque()
        self._usable_stamp_ns: int | None = None
        self._decoded_stamp_ns: int | None = None
        self._decodable = True
        self._undecodable_reason = ''
        self._bad_stamp_ns = -1
        self._arrival_ns: int | None = None
        self.bad = ''

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest frame, or None."""
        return self._frames[-1].stamp_ns if self._frames else None

    def add(self, frame: StampedObservation, arrival_ns: int | None) -> None:
        """Take a frame not older than those before, and when it arrived on a steady clock."""
        self._frames.append(frame)
        while self._frames[0].stamp_ns < frame.stamp_ns - self._memory_ns:
            self._frames.popleft()
        self._arrival_ns = arrival_ns
        if self._decodable:
            self._usable_stamp_ns = frame.stamp_ns

    def good(self) -> tuple[StampedObservation, ...]:
        """Frames to plan from: those after the last bad one, in the order of their stamps."""
        return tuple(frame for frame in self._frames if frame.stamp_ns > self._bad_stamp_ns)

    def checked(self, stamp_ns: int, fault: str) -> None:
        """Take the result of the checks of the frame of that stamp; empty where it is good."""
        self._decodable = True
        self._usable_stamp_ns = self._frames[-1].stamp_ns
        self._decoded_stamp_ns = stamp_ns
        self.bad = fault
        if fault:
            self._bad_stamp_ns = stamp_ns

    def undecodable(self, reason: str) -> None:
        """Count no frame since the last decoded one until one can be decoded again."""
        self._decodable = False
        self._usable_stamp_ns = self._decoded_stamp_ns
        self._undecodable_reason = reason

    def age_s(self, now_ns: int) -> float:
        """Age of the newest usable frame by its stamp, seconds; NaN without one."""
        stamp = self._usable_stamp_ns
        return float('nan') if stamp is None else (now_ns - stamp) / NANOSECONDS

    def fault(
        self, now_ns: int, steady_ns: int | None, timeout_s: float
    ) -> tuple[State, str] | None:
        """Reason why the robot cannot be driven by these frames, or None.

        Args:
            now_ns: present time of the stamps' clock.
            steady_ns: present time of the arrivals' clock, or None to go by stamps only.
            timeout_s: the newest usable frame may be so old, by stamp and by arrival.
        """
        age = self.age_s(now_ns)
        if steady_ns is not None and self._arrival_ns is not None:
            age = max(age, (steady_ns - self._arrival_ns) / NANOSECONDS)
        if not self._frames:
            return State.WAITING_IMAGE, 'no image received yet'
        if not self._decodable and not age <= timeout_s:
            return State.STALE_IMAGE, f'no usable image: {self._undecodable_reason}'
        if not age <= timeout_s:
            return (
                State.STALE_IMAGE,
                f'newest image is {age:.2f} s old, image_timeout is {timeout_s:.2f} s',
            )
        if self.bad:
            return State.BAD_IMAGE, self.bad
        return None
