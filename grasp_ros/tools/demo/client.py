"""The demo's client of simulated robot and planner: episodes, images, true poses, times."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from grasp_ros.msg import PlanStatus
from grasp_ros.ros.qos import goal_image_qos, image_qos, imagined_qos
from grasp_ros.ros.ros_messages import image_decoder, stamp_ns
from grasp_ros.sim.protocol import Pose
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.tools.demo.bench import ANSWER_S, START_S, BenchError, PlannerBench
from grasp_ros.tools.demo.processes import Child
from grasp_ros.tools.demo.report import Timing

SERVICE_TIMEOUT_S = 10.0
NODES = ('sim_robot', 'planner')


@dataclass(frozen=True)
class Tick:
    """One step of the simulated robot.

    Attributes:
        stamp_ns: of its image and its poses.
        poses: true ones by name.
    """

    stamp_ns: int
    poses: Mapping[str, Pose]

    @property
    def position_px(self) -> NDArray[np.float64]:
        """(2,) true position of a robot in two rooms in camera pixels."""
        pose = self.poses['pose']
        return np.array([pose.x, pose.y]) / METRES_PER_PIXEL


@dataclass(frozen=True)
class Start:
    """An episode that has just begun.

    Attributes:
        stamp_ns: ticks with this stamp or a later one belong to it.
        episode: what `sim_robot` says of it; see `CameraRobot.episode`.
    """

    stamp_ns: int
    episode: Mapping[str, Any]

    @property
    def goal_px(self) -> tuple[float, ...]:
        """True goal in camera pixels."""
        return tuple(self.episode['goal'])

    @property
    def through_door(self) -> bool:
        """Return whether it lies in the other room."""
        return bool(self.episode['through_door'])


class DemoClient(PlannerBench):
    """A planner's bench that also knows the simulated robot: its episodes, images and poses.

    Attributes:
        ticks: of the robot, oldest first.
        camera: the newest image; also `goal` and `imagined`.
        timing: of all replans and control ticks.
    """

    def __init__(
        self,
        node: Node,
        executor: Executor,
        check: Callable[[], None],
        imagined: bool,
        truth: Sequence[str] = ('pose',),
    ) -> None:
        """Subscribe.

        Args:
            node: see `PlannerBench`; also `executor` and `check`.
            executor: of the node.
            check: raises where there is nothing to wait for.
            imagined: whether to ask the planner for its imagination; decoding costs it time.
            truth: names of the true poses of a tick.
        """
        super().__init__(node, executor, check)
        self.ticks: deque[Tick] = deque()
        self.camera: Image | None = None
        self.goal: Image | None = None
        self.imagined: Image | None = None
        self.timing = Timing()
        self._set_robot = node.create_client(SetParameters, 'sim_robot/set_parameters')
        self._reset_robot = node.create_client(Trigger, 'sim_robot/reset')
        node.create_subscription(Image, 'image', self._keeper('camera'), image_qos())
        node.create_subscription(Image, 'goal_image', self._keeper('goal'), goal_image_qos())
        self._truth = frozenset(truth)
        self._incomplete: dict[int, dict[str, Pose]] = {}
        for name in truth:
            node.create_subscription(
                PoseStamped, f'ground_truth/{name}', partial(self._on_pose, name), 10
            )
        if imagined:
            node.create_subscription(
                Image, 'planner/imagined', self._keeper('imagined'), imagined_qos()
            )

    def bring_up(self, planner: Child) -> None:
        """Wait for both nodes, then configure and activate the planner.

        Args:
            planner: its process.

        Raises:
            BenchError: if a node is not there, or there are others of its name, or it refuses.
        """
        for name in NODES:
            self.wait(partial(self._count, name), START_S, f'{name} did not appear')
        self._refuse_others()
        self.meet()
        for verb, done in (('configured', self.configure), ('activated', self.activate)):
            if not done():
                self._check()
                raise BenchError(f'the planner cannot be {verb}; {planner.log} says why')
        self.wait(lambda: self.statuses, SERVICE_TIMEOUT_S, 'no status came from the planner')
        self._check()

    def start_episode(self, seed: int) -> Start:
        """Reset the simulated robot to the start of an episode and wait for its first images.

        Raises:
            BenchError: if it refuses.
        """
        request = SetParameters.Request(
            parameters=[Parameter('seed', value=seed).to_parameter_msg()]
        )
        result = self.call(self._set_robot, request).results[0]
        if not result.successful:
            raise BenchError(f'sim_robot refuses the seed {seed}: {result.reason}')
        answer = json.loads(self.call(self._reset_robot, Trigger.Request()).message)
        stamp = int(answer['stamp_ns'])
        self.wait(
            lambda: _newer(self.camera, stamp) and _newer(self.goal, stamp),
            SERVICE_TIMEOUT_S,
            'sim_robot sent no images of the new episode',
        )
        while self.ticks and self.ticks[0].stamp_ns < stamp:
            self.ticks.popleft()
        self.imagined = None
        self.clear()
        return Start(stamp, answer)

    def next_tick(self) -> Tick:
        """The robot's next step, in order.

        Raises:
            BenchError: if none comes.
        """
        self.wait(lambda: self.ticks, SERVICE_TIMEOUT_S, 'sim_robot sent no pose')
        return self.ticks.popleft()

    def on_status(self, message: PlanStatus) -> None:
        """Keep it, and the times of solve and tick."""
        super().on_status(message)
        self.timing.add(message)

    def call(self, client: Any, request: Any, timeout_s: float = ANSWER_S) -> Any:
        """See `PlannerBench`; names other nodes that may have taken the request."""
        try:
            return super().call(client, request, timeout_s)
        except BenchError:
            self._refuse_others()
            raise

    def _count(self, name: str) -> int:
        """Nodes of this name in the graph."""
        return self.node.get_node_names().count(name)

    def _refuse_others(self) -> None:
        for name in NODES:
            if self._count(name) > 1:
                raise BenchError(
                    f'another {name} runs in the same ROS domain: end it, or choose another '
                    'domain with ROS_DOMAIN_ID'
                )

    def _keeper(self, name: str) -> Callable[[Image], None]:
        return lambda message: setattr(self, name, message)

    def _on_pose(self, name: str, message: PoseStamped) -> None:
        """Collect the poses of one stamp."""
        stamp = stamp_ns(message.header.stamp)
        poses = self._incomplete.setdefault(stamp, {})
        position, turned = message.pose.position, message.pose.orientation
        poses[name] = Pose(position.x, position.y, 2 * math.atan2(turned.z, turned.w))
        if poses.keys() == self._truth:
            self.ticks.append(Tick(stamp, poses))
            self._incomplete = {
                later: found for later, found in self._incomplete.items() if later > stamp
            }


def decoded(message: Image | None) -> NDArray[np.uint8] | None:
    """The image in a message (h, w, 3) uint8 RGB; None of nothing."""
    return None if message is None else image_decoder(message)()


def _newer(message: Image | None, than_ns: int) -> bool:
    return message is not None and stamp_ns(message.header.stamp) >= than_ns
