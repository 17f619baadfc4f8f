"""Proprioception from messages, of ROS and of recorded bags: settings are checked once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grasp_ros.messages.commands import ARRAY, TWIST_FIELDS, TWIST_STAMPED

if TYPE_CHECKING:  # it imports torch, which what reads parameters does without
    from grasp_ros.models.sensors import SensorSpec

JOINT_STATE = 'sensor_msgs/msg/JointState'
ODOMETRY = 'nav_msgs/msg/Odometry'
PROPRIOCEPTION_TYPES = (JOINT_STATE, ODOMETRY, TWIST_STAMPED, ARRAY)

_JOINT_LISTS = ('position', 'velocity', 'effort')
_ODOMETRY_FIELDS = (
    *(f'position.{axis}' for axis in 'xyz'),
    *(f'orientation.{axis}' for axis in 'xyzw'),
    *TWIST_FIELDS,
)
_NAMED_JOINT = re.compile(rf'({"|".join(_JOINT_LISTS)})\.(.+)')


class ProprioceptionError(ValueError):
    """A message holds no usable proprioception; the text says why."""


@dataclass(frozen=True)
class ProprioceptionLayout:
    """Reads the model's proprioception out of messages; checked on construction.

    Attributes:
        message_type: `proprioception.type`, one of `PROPRIOCEPTION_TYPES`.
        names: of the model's components.
        fields: `proprioception.fields`, one for each component; empty: the names themselves. As
            'velocity.wrist' of a JointState, 'linear.x' of a twist or an odometry, 'position.y' of
            an odometry; an array has none, its data come in the model's order.
    """

    message_type: str
    names: tuple[str, ...]
    fields: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.message_type not in PROPRIOCEPTION_TYPES:
            raise ValueError(
                f'proprioception.type is {self.message_type!r}; it must be one of '
                f'{", ".join(PROPRIOCEPTION_TYPES)}'
            )
        if self.message_type == ARRAY:
            return
        chosen = self._chosen
        if len(chosen) != len(self.names):
            raise ValueError(
                f'proprioception.fields has {len(chosen)} entries ({", ".join(chosen)}), but the '
                f'model has {len(self.names)} components: {", ".join(self.names)}'
            )
        unknown = [name for name in chosen if not self._known(name)]
        if unknown:
            raise ValueError(
                f'proprioception.fields: a {self.message_type} has no '
                f'{", ".join(map(repr, unknown))}; it has {self._allowed}'
            )

    @property
    def _chosen(self) -> Sequence[str]:
        return self.fields or self.names

    @property
    def _allowed(self) -> str:
        if self.message_type == JOINT_STATE:
            return ', '.join(f'{name}.<joint>' for name in _JOINT_LISTS)
        return ', '.join(TWIST_FIELDS if self.message_type == TWIST_STAMPED else _ODOMETRY_FIELDS)

    def _known(self, name: str) -> bool:
        if self.message_type == JOINT_STATE:
            return _NAMED_JOINT.fullmatch(name) is not None
        return name in (TWIST_FIELDS if self.message_type == TWIST_STAMPED else _ODOMETRY_FIELDS)

    def decode(self, message: Any) -> NDArray[np.float64]:
        """The components (Q,) in the model's order.

        Raises:
            ProprioceptionError: if the message has not all of them; whether they are finite is not
                looked at.
        """
        if self.message_type == ARRAY:
            values = np.asarray(message.data, np.float64)
            if values.shape != (len(self.names),):
                raise ProprioceptionError(
                    f'the array has {values.size} values; the model wants {len(self.names)}: '
                    f'{", ".join(self.names)}'
                )
            return values
        if self.message_type == JOINT_STATE:
            return np.array([_joint(message, name) for name in self._chosen], np.float64)
        return np.array([self._part(message, name) for name in self._chosen], np.float64)

    def _part(self, message: Any, name: str) -> float:
        part, axis = name.split('.')
        twist = message.twist
        if self.message_type == ODOMETRY:
            if part in ('position', 'orientation'):
                return float(getattr(getattr(message.pose.pose, part), axis))
            twist = twist.twist
        return float(getattr(getattr(twist, part), axis))


def _joint(message: Any, name: str) -> float:
    matched = _NAMED_JOINT.fullmatch(name)
    assert matched is not None  # checked on construction
    kind, joint = matched.groups()
    joints, values = list(message.name), getattr(message, kind)
    if joint not in joints:
        shown = ', '.join(joints[:10]) or 'none'
        raise ProprioceptionError(f'the message has no joint {joint!r}; it has {shown}')
    if len(values) != len(joints):
        raise ProprioceptionError(
            f'the message has {len(values)} values of {kind} for {len(joints)} joints'
        )
    return float(values[joints.index(joint)])


def proprioception_layout(
    message_type: str, fields: Sequence[str], inputs: SensorSpec
) -> ProprioceptionLayout | None:
    """How a model's proprioception lies in messages; None for a model without.

    Args:
        message_type: the parameter `proprioception.type`.
        fields: the parameter `proprioception.fields`.
        inputs: of the model.

    Raises:
        ValueError: if the parameters do not fit the model.
    """
    if inputs.proprioception is None:
        return None
    return ProprioceptionLayout(message_type, inputs.proprioception.names, fields)
