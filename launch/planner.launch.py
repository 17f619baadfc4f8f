"""Start the planner; unless told otherwise, configure and activate it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event import Event
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState, StateTransition
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Parameters that have an argument of their own. Empty ones are left to the file, and use_sim_time
# to a SetParameter of the launch file that includes this one.
OVERRIDES = {'model': str, 'device': str, 'use_sim_time': bool}


def generate_launch_description() -> LaunchDescription:
    params_file = Path(get_package_share_directory('grasp_ros'), 'config', 'planner.yaml')
    descriptions = {
        'params_file': (str(params_file), "the planner's parameters, under the key /**/planner"),
        'model': ('', 'name or folder of a model; empty: as in params_file'),
        'device': ('', 'auto, cpu, cuda or cuda:N; empty: as in params_file'),
        'autostart': ('true', 'configure and activate the planner; if that fails, it is ended'),
        'namespace': ('', 'of the node and its topics'),
        'use_sim_time': ('', 'true: follow /clock; empty: as in params_file'),
        'log_level': ('info', 'debug, info, warn, error or fatal'),
        'image_topic': ('image', "the camera's pictures"),
        'goal_image_topic': ('goal_image', 'picture of what the camera shall see in the end'),
        'command_topic': ('command', 'what moves the robot'),
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in descriptions.items()
            ),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    params_file = LaunchConfiguration('params_file').perform(context)
    # launch_ros only warns, and the robot would move with parameters that nobody chose.
    if not Path(params_file).is_file():
        raise RuntimeError(f'params_file: there is no file {params_file!r}')
    overrides: dict[str, Any] = {
        name: ParameterValue(value, value_type=OVERRIDES[name])
        for name, value in given.items()
        if value
    }
    planner = LifecycleNode(
        package='grasp_ros',
        executable='planner',
        name='planner',
        namespace=LaunchConfiguration('namespace'),
        parameters=[params_file, overrides],
        remappings=[
            (name, LaunchConfiguration(f'{name}_topic'))
            for name in ('image', 'goal_image', 'command')
        ],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
    if not IfCondition(LaunchConfiguration('autostart')).evaluate(context):
        return [planner]
    return [
        RegisterEventHandler(_when_configured(planner)),
        planner,
        EmitEvent(event=_change(planner, Transition.TRANSITION_CONFIGURE)),
    ]


def _when_configured(planner: LifecycleNode) -> OnStateTransition:
    """Activate the planner, or end it where it could not be configured.

    Only the first time: what is done by hand later is nobody else's business.
    """

    def matches(event: Event) -> bool:
        return (
            isinstance(event, StateTransition)
            and event.action is planner
            and event.start_state == 'configuring'
        )

    def react(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        if context.locals.event.goal_state == 'inactive':
            return [EmitEvent(event=_change(planner, Transition.TRANSITION_ACTIVATE))]
        # The planner alone: launch ends with its last process, and in the bring-up of a whole
        # robot the others may have to go on.
        return [
            LogInfo(msg='planner: could not be configured, for the reason above; ending it'),
            EmitEvent(event=ShutdownProcess(process_matcher=matches_action(planner))),
        ]

    return OnStateTransition(
        matcher=matches, entities=[OpaqueFunction(function=react)], handle_once=True
    )


def _change(planner: LifecycleNode, transition: int) -> ChangeState:
    return ChangeState(lifecycle_node_matcher=matches_action(planner), transition_id=transition)
