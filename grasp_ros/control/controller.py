"""Receding-horizon control: from images and a goal to the command due now, or the stop.

Two threads may use a Controller: one plans (`prepare`, `plan`), one does everything else. It never
reads a clock: every time is handed in, in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from grasp_ros.control.command_loop import CommandLoop
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.limits import Limits
from grasp_ros.control.observation import ImageSource, split_goal
from grasp_ros.control.planning_loop import PlanningLoop, PlanReport
from grasp_ros.control.shared_state import SharedState
from grasp_ros.control.synchronizer import ApproximateTimeSynchronizer, Data, SensorDataError
from grasp_ros.control.types import NANOSECONDS, ClampCounts, Command, State, Timer, untimed
from grasp_ros.models.protocol import LoadedModel
from grasp_ros.models.sensors import RgbImage
from grasp_ros.planning.protocol import Planner


class Controller:
    """A planning loop and a command loop over one shared state.

    Attributes:
        config: the configuration in force.
        inputs: what an observation is made of.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        planner: Planner,
        limits: Limits,
        config: ControllerConfig,
        timer: Timer = untimed,
    ) -> None:
        """Control with a model and a planner that was built for it.

        Args:
            loaded: the world model and its inputs.
            planner: plans with it.
            limits: last gate before a command leaves, physical units.
            config: horizon, times, distances, checks.
            timer: of the phases of planning.
        """
        self.config = config
        self.inputs = loaded.sensors
        self._sensors = ApproximateTimeSynchronizer(self.inputs, config.sync_tolerance)
        # Frames matter as long as the model's history and half a step.
        self._shared = SharedState((2 * loaded.model.history - 1) * config.step_ns // 2)
        self._planning = PlanningLoop(loaded, planner, limits, config, self._shared, timer)
        self._commands = CommandLoop(
            loaded.action_space, limits, config, self._shared, self._sensors
        )

    # Planning thread.

    def prepare(self) -> list[float]:
        """Prepare the planner and solve until the time is steady; solve times in seconds."""
        return self._planning.prepare()

    def plan(self, now_ns: int, clock: Callable[[], int] | None = None) -> PlanReport:
        """Plan from the newest image; see `PlanningLoop.plan`."""
        return self._planning.plan(now_ns, clock)

    # Everything else.

    def command(self, now_ns: int, steady_ns: int | None = None) -> Command:
        """Give the command to send now; see `CommandLoop.command`."""
        return self._commands.command(now_ns, steady_ns)

    def halt(self, now_ns: int) -> Iterator[Command]:
        """Give the stop to publish when control ends; see `CommandLoop.halt`."""
        return self._commands.halt(now_ns)

    def reset(self) -> None:
        """Forget goal, frames, plans and published commands, as on activation."""
        self._planning.restart()
        self._commands.reset()
        self._shared.reset()  # last: what is planned from then on finds all the rest reset

    def reconfigure(self, config: ControllerConfig) -> None:
        """Follow another config from the next plan on; horizon and `model_dt` must stay."""
        self._planning.reconfigure(config)
        self._commands.reconfigure(config)
        self.config = config

    def enable(self, enabled: bool) -> None:
        """Stop and hold, or resume with a new plan."""
        self._shared.enable(enabled)

    def hold(self, key: str, state: State | None, reason: str = '') -> None:
        """Stop for a reason that only the caller sees, until it is taken back with None.

        Args:
            key: of the reason; several may hold at once.
            state: to report, or None.
            reason: for people.
        """
        self._shared.hold(key, state, reason)

    def observe(
        self,
        image: ImageSource,
        stamp_ns: int,
        *,
        now_ns: int | None = None,
        arrival_ns: int | None = None,
    ) -> str | None:
        """Take an image of the (first) camera; see `add_measurement`."""
        camera = self.inputs.cameras[0]
        return self.add_measurement(camera, image, stamp_ns, now_ns=now_ns, arrival_ns=arrival_ns)

    def add_measurement(
        self,
        name: str,
        data: Data,
        stamp_ns: int,
        *,
        now_ns: int | None = None,
        arrival_ns: int | None = None,
    ) -> str | None:
        """Take the data of one sensor; of all sensors at nearly one time they are an observation.

        Args:
            name: of the sensor, one of `inputs.names`.
            data: image (h, w, 3) uint8 RGB, or a function that decodes it on the planning thread;
                proprioception (Q,) in physical units.
            stamp_ns: acquisition time.
            now_ns: present time of the stamps' clock; None trusts the stamp.
            arrival_ns: arrival on a steady clock, compared with that of `command(steady_ns=...)`.

        Returns:
            None, or why it was refused.
        """
        try:
            frame = self._sensors.add(name, data, stamp_ns, now_ns)
        except SensorDataError as error:
            return str(error)
        if frame is None:
            return None
        newest = self._shared.frames.newest_ns
        if newest is not None and frame.stamp_ns < newest:
            if newest - frame.stamp_ns < self.config.image_timeout * NANOSECONDS:
                return 'image is older than one received before'
            self._commands.restart_time()
        self._shared.add_frame(frame, arrival_ns)
        return None

    def set_goal(
        self, image: RgbImage, tolerance: float | None = None, restart: bool = False
    ) -> bool:
        """Take a goal image (h, w, 3) uint8 RGB.

        Args:
            image: the goal; for several cameras their images side by side.
            tolerance: goal distance that counts as reached; None for that of the config.
            restart: begin anew with unchanged content, too, as after a stall.

        Returns:
            Whether it is a new goal; unchanged content is ignored, a new one clears the plan.

        Raises:
            ValueError: if the image cannot be that of so many cameras.
        """
        data = split_goal(image, len(self.inputs.cameras))
        return self._shared.set_goal(image, data, tolerance, restart)

    def clear_goal(self) -> None:
        """Stop, and wait for the next goal."""
        self._shared.clear_goal()

    @property
    def observations(self) -> int:
        """Number of complete observations so far."""
        return self._sensors.complete

    @property
    def goal_distance(self) -> float:
        """Distance of the newest image from the present goal; NaN before it is known."""
        return self._shared.goal_distance

    @property
    def plans_dropped(self) -> int:
        """Plans made for a goal, an activation or a time that is no more, since `reset`."""
        return self._shared.plans_dropped

    @property
    def clamps(self) -> ClampCounts:
        """Commands that the limits changed, since `reset`."""
        return self._commands.clamps

    def image_age(self, now_ns: int) -> float:
        """Age of the newest usable image by its stamp, seconds; NaN without one."""
        return self._shared.frames.age_s(now_ns)

    def plan_age(self, now_ns: int) -> float:
        """Age of the image behind the newest plan, seconds; NaN without a plan."""
        plans = self._shared.plans
        if not plans:
            return float('nan')
        return (now_ns - plans[0].observation_stamp_ns) / NANOSECONDS
