"""Command messages from actions, for ROS and for recorded bags: settings are checked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.types import NANOSECONDS
from grasp_ros.models.action_space import ActionKind

if TYPE_CHECKING:  # it imports torch, which the commands and the simulated robot do without
    from grasp_ros.models.manifest import Manifest

TWIST_STAMPED = 'geometry_msgs/msg/TwistStamped'
TWIST = 'geometry_msgs/msg/Twist'
JOINT_TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
ARRAY = 'std_msgs/msg/Float64MultiArray'
COMMAND_TYPES = (TWIST_STAMPED, TWIST, JOINT_TRAJECTORY, ARRAY)
TWIST_FIELDS = tuple(f'{part}.{axis}' for part in ('linear', 'angular') for axis in 'xyz')

_JOINT_FIELDS = {
    'position': 'positions',
    'velocity': 'velocities',
    'effort': 'effort',
}

_POINT_FIELDS = ('positions', 'velocities', 'accelerations', 'effort')

MakeMessage = Callable[..., Any]
"""Makes a message of the type named first from all its fields; lists of numbers are lists."""


@dataclass(frozen=True)
class CommandLayout:
    """Builds command messages; checked on construction, so that `encode` cannot fail later.

    Attributes:
        command_type: `command.type`, one of `COMMAND_TYPES`.
        kind: what the actions command.
        size: components R of one command.
        period_s: of the commands, in seconds; JointTrajectory points are to be reached by then.
        fields: `command.fields`, R of `TWIST_FIELDS`; used for twists only.
        joint_names: `command.joint_names`, R names; used for JointTrajectory only.
        frame_id: `command.frame_id`, for the types that have a header.
        make: makes the messages, those of ROS or those of a library.
    """

    command_type: str
    kind: ActionKind
    size: int
    period_s: float
    fields: Sequence[str] = ()
    joint_names: Sequence[str] = ()
    frame_id: str = ''
    make: MakeMessage = field(kw_only=True)

    def __post_init__(self) -> None:
        if self.command_type not in COMMAND_TYPES:
            raise ValueError(
                f'command.type is {self.command_type!r}; it must be one of '
                f'{", ".join(COMMAND_TYPES)}'
            )
        if self.command_type in (TWIST, TWIST_STAMPED):
            self._check_names('command.fields', self.fields)
            unknown = [field for field in self.fields if field not in TWIST_FIELDS]
            if unknown:
                raise ValueError(
                    f'command.fields: a twist has no {", ".join(map(repr, unknown))}; it has '
                    f'{", ".join(TWIST_FIELDS)}'
                )
            if self.kind is ActionKind.POSITION:
                raise ValueError(
                    f'command.type is {self.command_type!r}, but the model commands positions, '
                    'whose stop is to hold the last one: as a twist the robot would never stop. '
                    'Use trajectory_msgs/msg/JointTrajectory or std_msgs/msg/Float64MultiArray'
                )
        if self.command_type == JOINT_TRAJECTORY:
            self._check_names('command.joint_names', self.joint_names)
            if self.kind.value not in _JOINT_FIELDS:
                raise ValueError(
                    f'command.type is {self.command_type!r}, but the model commands '
                    f'{self.kind.value} actions: controllers take the positions of a trajectory as '
                    'absolute, and the stop, zero, would drive every joint to zero. Use '
                    'std_msgs/msg/Float64MultiArray'
                )
            if not 0.0 < self.period_s < 2**31:
                raise ValueError(f'the command period must be positive, not {self.period_s} s')

    def encode(self, values: NDArray[np.float64], stamp: Any) -> Any:
        """Build the message for one command.

        Args:
            values: (R,) in physical units (REP-103).
            stamp: time of the command, for the types that have a header.

        Returns:
            A message of `command_type`. JointTrajectory has one point: positions, velocities or
            effort, as the kind of action says.

        Raises:
            ValueError: if `values` has another shape.
        """
        if values.shape != (self.size,):
            raise ValueError(f'a command has the shape ({self.size},), not {values.shape}')
        numbers = [float(value) for value in values]
        if self.command_type == TWIST:
            return self._twist(numbers)
        if self.command_type == ARRAY:
            layout = self.make('std_msgs/msg/MultiArrayLayout', dim=[], data_offset=0)
            return self.make(ARRAY, layout=layout, data=numbers)
        header = self.make('std_msgs/msg/Header', stamp=stamp, frame_id=self.frame_id)
        if self.command_type == TWIST_STAMPED:
            return self.make(TWIST_STAMPED, header=header, twist=self._twist(numbers))
        return self.make(
            JOINT_TRAJECTORY,
            header=header,
            joint_names=list(self.joint_names),
            points=[self._point(numbers)],
        )

    def decode(self, message: Any) -> NDArray[np.float64]:
        """The values (R,) of a message that `encode` could have made.

        Raises:
            ValueError: if the message holds no such command.
        """
        if self.command_type in (TWIST, TWIST_STAMPED):
            twist = message if self.command_type == TWIST else message.twist
            return np.array([_part(twist, name) for name in self.fields], np.float64)
        if self.command_type == ARRAY:
            values = np.asarray(message.data, np.float64)
        else:
            values = self._joint_values(message)
        if values.shape != (self.size,):
            raise ValueError(f'a command of {values.size} components, not {self.size}')
        return values

    def _check_names(self, parameter: str, names: Sequence[str]) -> None:
        if len(names) != self.size:
            raise ValueError(
                f'{parameter} has {len(names)} entries ({", ".join(names) or "none"}), but the '
                f"model's actions have {self.size} components"
            )
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f'{parameter}: each entry must be there once, got {", ".join(names)}')

    def _twist(self, numbers: list[float]) -> Any:
        values = dict(zip(self.fields, numbers, strict=True))
        parts = {
            part: self.make(
                'geometry_msgs/msg/Vector3',
                **{axis: values.get(f'{part}.{axis}', 0.0) for axis in 'xyz'},
            )
            for part in ('linear', 'angular')
        }
        return self.make(TWIST, **parts)

    def _point(self, numbers: list[float]) -> Any:
        seconds, nanoseconds = divmod(round(self.period_s * NANOSECONDS), NANOSECONDS)
        lists: dict[str, list[float]] = {name: [] for name in _POINT_FIELDS}
        lists[_JOINT_FIELDS[self.kind.value]] = numbers
        return self.make(
            'trajectory_msgs/msg/JointTrajectoryPoint',
            **lists,
            time_from_start=self.make(
                'builtin_interfaces/msg/Duration', sec=seconds, nanosec=nanoseconds
            ),
        )

    def _joint_values(self, message: Any) -> NDArray[np.float64]:
        if not message.points:
            raise ValueError('a trajectory without points')
        point = getattr(message.points[0], _JOINT_FIELDS[self.kind.value])
        if set(message.joint_names) != set(self.joint_names):
            raise ValueError(
                f'a trajectory of {", ".join(message.joint_names)}, '
                f'not of {", ".join(self.joint_names)}'
            )
        order = [list(message.joint_names).index(name) for name in self.joint_names]
        return np.asarray(point, np.float64)[order]


class CommandSettings(Protocol):
    """Command messages as the parameters `command.*` describe them."""

    @property
    def type(self) -> str:
        """One of `COMMAND_TYPES`."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Field of a twist for each component."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joint for each component of a JointTrajectory."""

    @property
    def frame_id(self) -> str:
        """Frame of the commands."""


def command_layout(
    settings: CommandSettings, manifest: Manifest, make: MakeMessage
) -> CommandLayout:
    """How a model's commands lie in messages, by the parameters.

    Args:
        settings: of the commands.
        manifest: of the model.
        make: makes the messages.

    Raises:
        ValueError: if the parameters do not fit the model.
    """
    return CommandLayout(
        command_type=settings.type,
        kind=manifest.action.kind,
        size=len(manifest.action.names),
        period_s=1.0 / manifest.control_rate,
        fields=settings.fields,
        joint_names=settings.joint_names,
        frame_id=settings.frame_id,
        make=make,
    )


def _part(twist: Any, name: str) -> float:
    part, axis = name.split('.')
    return float(getattr(getattr(twist, part), axis))
