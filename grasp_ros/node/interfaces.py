"""Topics and services of the planner node, made at configure and destroyed at cleanup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from grasp_ros.models.sensors import PROPRIOCEPTION, SensorSpec, image_topic
from grasp_ros.msg import ActionPlan, PlanStatus
from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import NodeParameters
from grasp_ros.ros.qos import (
    command_qos,
    goal_image_qos,
    image_qos,
    imagined_qos,
    overridable,
    plan_qos,
    proprioception_qos,
    status_qos,
)
from grasp_ros.ros.ros_messages import message_class


@dataclass(frozen=True)
class Topics:
    """Publishers, and what must be destroyed beside them."""

    command: Any
    plan: Any
    status: Any
    imagined: Any
    subscriptions: tuple[Any, ...]
    enable: Any

    def destroy(self, node: LifecycleNode) -> None:
        """Take everything back from `node`, which made it."""
        for publisher in (self.command, self.plan, self.status, self.imagined):
            node.destroy_lifecycle_publisher(publisher)
        for subscription in self.subscriptions:
            node.destroy_subscription(subscription)
        node.destroy_service(self.enable)


def make_topics(
    node: LifecycleNode,
    params: NodeParameters,
    command_type: type[Any],
    inputs: SensorSpec,
    on_image: Callable[[Any, str], None],
    on_proprioception: Callable[[Any], None],
    on_goal: Callable[[Any], None],
    on_enable: Callable[[SetBool.Request, SetBool.Response], SetBool.Response],
) -> Topics:
    """Make the interfaces that the parameters and the model's inputs ask for.

    Raises:
        ParameterError: if a message type is not installed.
    """
    options = {'qos_overriding_options': overridable()}

    def image_type(compressed: bool) -> type[Any]:
        return CompressedImage if compressed else Image

    def camera(name: str) -> Any:
        topic = image_topic(inputs, name)
        return node.create_subscription(
            image_type(params.image.compressed),
            topic,
            lambda message: on_image(message, name),
            image_qos(),
            **options,
        )

    proprioception: tuple[Any, ...] = ()
    if inputs.proprioception is not None:
        kind = message_class(params.proprioception.type)
        if kind is None:
            raise ParameterError(
                f"parameter 'proprioception.type' is {params.proprioception.type!r}, whose "
                'package is not installed'
            )
        proprioception = (
            node.create_subscription(
                kind, PROPRIOCEPTION, on_proprioception, proprioception_qos(), **options
            ),
        )

    return Topics(
        command=node.create_lifecycle_publisher(command_type, 'command', command_qos(), **options),
        plan=node.create_lifecycle_publisher(ActionPlan, '~/plan', plan_qos()),
        status=node.create_lifecycle_publisher(PlanStatus, '~/status', status_qos()),
        imagined=node.create_lifecycle_publisher(Image, '~/imagined', imagined_qos()),
        subscriptions=(
            *map(camera, inputs.cameras),
            *proprioception,
            node.create_subscription(
                image_type(params.goal_image.compressed),
                'goal_image',
                on_goal,
                goal_image_qos(params.goal_image.durability),
                **options,
            ),
        ),
        enable=node.create_service(SetBool, '~/enable', on_enable),
    )
