"""What the demo asks of the simulated robot and the planner, and sees of them, over ROS."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from grasp_ros.msg import PlanStatus
from grasp_ros.ros.qos import goal_image_qos, image_qos, imagined_qos
from grasp_ros.ros.ros_messages import image_decoder, stamp_ns
from grasp_ros.sim.protocol import Pose
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.tools.demo.report import Timing

SERVICE_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
CONFIGURE_TIMEOUT_S = 60.0


class DemoError(RuntimeError):
    """The demo cannot go on; the message is for people."""


@dataclass(frozen=True)
class Tick:
    """One step of the simulated robot.

    Attributes:
        stamp_ns: of its picture and its poses.
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
        """Whether it lies in the other room."""
        return bool(self.episode['through_door'])


class DemoClient:
    """Keeps the newest of everything and all ticks; calls services and waits for them."""

    def __init__(
        self, check: Callable[[], None], imagined: bool, truth: Sequence[str] = ('pose',)
    ) -> None:
        """Subscribe.

        Args:
            check: called again and again while waiting; raises where there is nothing to wait for.
            imagined: whether to ask the planner for its imagination; decoding costs it time.
            truth: names of the true poses of a tick.
        """
        self._check = check
        self._node = node = Node('demo')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self.ticks: deque[Tick] = deque()
        self.camera: Image | None = None
        self.goal: Image | None = None
        self.imagined: Image | None = None
        self.status: PlanStatus | None = None
        self.timing = Timing()
        node.create_subscription(Image, 'image', self._keeper('camera'), image_qos())
        node.create_subscription(Image, 'goal_image', self._keeper('goal'), goal_image_qos())
        self._truth = frozenset(truth)
        self._incomplete: dict[int, dict[str, Pose]] = {}
        for name in truth:
            node.create_subscription(
                PoseStamped, f'ground_truth/{name}', partial(self._on_pose, name), 10
            )
        node.create_subscription(PlanStatus, 'planner/status', self._on_status, 100)
        if imagined:
            node.create_subscription(
                Image, 'planner/imagined', self._keeper('imagined'), imagined_qos()
            )

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Receive until `condition()` is true.

        Raises:
            DemoError: saying that `what` did not happen in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise DemoError(f'{what} within {timeout_s:g} s')
            self._executor.spin_once(timeout_sec=0.05)

    def wait_for_nodes(self) -> None:
        """Wait until both nodes are there.

        Raises:
            DemoError: if one is not, or there are others of the same name.
        """
        for name in ('sim_robot', 'planner'):
            self.wait(partial(self._count, name), START_TIMEOUT_S, f'{name} did not appear')
        self._refuse_others()

    def _refuse_others(self) -> None:
        for name in ('sim_robot', 'planner'):
            if self._count(name) > 1:
                raise DemoError(
                    f'another {name} runs in the same ROS domain: end it, or choose another '
                    'domain with ROS_DOMAIN_ID'
                )

    def configure(self) -> bool:
        """Configure the planner; False where it refuses."""
        return self._change_state(Transition.TRANSITION_CONFIGURE, CONFIGURE_TIMEOUT_S)

    def activate(self) -> bool:
        """Activate the planner; False where it refuses."""
        return self._change_state(Transition.TRANSITION_ACTIVATE, SERVICE_TIMEOUT_S)

    def planner_parameters(self, names: Sequence[str]) -> list[Any]:
        """Values of the planner's parameters."""
        request = GetParameters.Request(names=list(names))
        response = self._call(GetParameters, 'planner/get_parameters', request)
        return [parameter_value_to_python(value) for value in response.values]

    def start_episode(self, seed: int) -> Start:
        """Reset the simulated robot to the start of an episode and wait for its first pictures.

        Raises:
            DemoError: if it refuses.
        """
        request = SetParameters.Request(
            parameters=[Parameter('seed', value=seed).to_parameter_msg()]
        )
        result = self._call(SetParameters, 'sim_robot/set_parameters', request).results[0]
        if not result.successful:
            raise DemoError(f'sim_robot refuses the seed {seed}: {result.reason}')
        answer = json.loads(self._call(Trigger, 'sim_robot/reset', Trigger.Request()).message)
        stamp = int(answer['stamp_ns'])
        self.wait(
            lambda: _newer(self.camera, stamp) and _newer(self.goal, stamp),
            SERVICE_TIMEOUT_S,
            'sim_robot sent no pictures of the new episode',
        )
        while self.ticks and self.ticks[0].stamp_ns < stamp:
            self.ticks.popleft()
        self.imagined = None
        return Start(stamp, answer)

    def next_tick(self) -> Tick:
        """The robot's next step, in order.

        Raises:
            DemoError: if none comes.
        """
        self.wait(lambda: self.ticks, SERVICE_TIMEOUT_S, 'sim_robot sent no pose')
        return self.ticks.popleft()

    def _count(self, name: str) -> int:
        """Nodes of this name in the graph."""
        return self._node.get_node_names().count(name)

    def _change_state(self, transition: int, timeout_s: float) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._call(ChangeState, 'planner/change_state', request, timeout_s).success)

    def _call(
        self, kind: Any, name: str, request: Any, timeout_s: float = SERVICE_TIMEOUT_S
    ) -> Any:
        client = self._node.create_client(kind, name)
        try:
            self.wait(client.service_is_ready, SERVICE_TIMEOUT_S, f'no service {name}')
            future = client.call_async(request)
            self.wait(future.done, timeout_s, f'no answer from {name}')
            return future.result()
        except DemoError:
            # Those that were not discovered before may have taken the request.
            self._refuse_others()
            raise
        finally:
            self._node.destroy_client(client)

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

    def _on_status(self, message: PlanStatus) -> None:
        """Collect times; a new solve shows in its time, which no two solves share."""
        previous, self.status = self.status, message
        known = not math.isnan(message.solve_time)
        if known and (previous is None or message.solve_time != previous.solve_time):
            self.timing.solve_times_s.append(message.solve_time)
        self.timing.jitters_s.append(message.jitter)
        self.timing.missed = message.missed


def picture(message: Image | None) -> NDArray[np.uint8] | None:
    """The picture of a message (h, w, 3) uint8 RGB; None of nothing."""
    return None if message is None else image_decoder(message)()


def _newer(message: Image | None, than_ns: int) -> bool:
    return message is not None and stamp_ns(message.header.stamp) >= than_ns
