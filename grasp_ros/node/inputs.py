"""What arrives from outside is checked here and handed to the controller, or refused with a reason.

The node's callbacks and the fuzz share this, so that what is fuzzed is what runs.
"""

from __future__ import annotations

import math
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.action import ReachGoal
from grasp_ros.control.controller import Controller
from grasp_ros.messages.images import ImageError
from grasp_ros.messages.proprioception import ProprioceptionError, ProprioceptionLayout
from grasp_ros.models.sensors import PROPRIOCEPTION
from grasp_ros.ros.ros_messages import image_decoder, stamp_ns


def take_image(
    controller: Controller,
    now_ns: int,
    arrival_ns: int,
    message: Image | CompressedImage,
    camera: str | None = None,
) -> str | None:
    """Hand a camera image to the controller, undecoded; a zero stamp counts as now.

    Args:
        controller: gets it.
        now_ns: present time of the stamps' clock.
        arrival_ns: present time of a steady clock.
        message: the image.
        camera: its name; None for the only one.

    Returns:
        None, or why it was refused.
    """
    try:
        source = image_decoder(message)
    except ImageError as error:
        return str(error)
    acquired_ns = stamp_ns(message.header.stamp) or now_ns
    name = camera or controller.inputs.cameras[0]
    return controller.add_measurement(
        name, source, acquired_ns, now_ns=now_ns, arrival_ns=arrival_ns
    )


def take_proprioception(
    controller: Controller,
    now_ns: int,
    arrival_ns: int,
    message: Any,
    layout: ProprioceptionLayout,
) -> str | None:
    """Hand proprioception to the controller; without a stamp it counts as acquired now.

    Args:
        controller: gets it.
        now_ns: present time of the stamps' clock.
        arrival_ns: present time of a steady clock.
        message: of the layout's type.
        layout: reads the message.

    Returns:
        None, or why it was refused.
    """
    try:
        values = layout.decode(message)
    except ProprioceptionError as error:
        return str(error)
    header = getattr(message, 'header', None)
    acquired_ns = (stamp_ns(header.stamp) if header is not None else 0) or now_ns
    return controller.add_measurement(
        PROPRIOCEPTION, values, acquired_ns, now_ns=now_ns, arrival_ns=arrival_ns
    )


def check_action_goal(goal: ReachGoal.Goal) -> None:
    """Check what can be seen of a goal of the action ~/reach_goal without decoding its image.

    Raises:
        ValueError: naming the field that cannot be used.
    """
    for name in ('tolerance', 'timeout'):
        value = getattr(goal, name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f'{name} is {value}; it must be a finite number >= 0')
    try:
        image_decoder(goal.goal_image)
    except ImageError as error:
        raise ValueError(f'goal_image: {error}') from error
