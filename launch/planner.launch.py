"""Start the planner; unless told otherwise, configure and activate it too."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    UnregisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event import Event
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState, StateTransition
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

# Parameters that have an argument of their own. Empty ones are left to the file, and use_sim_time
# to a SetParameter of the launch file that includes this one.
OVERRIDES = {'model': str, 'device': str, 'use_sim_time': bool}


def generate_launch_description() -> LaunchDescription:
    params_file = Path(get_package_share_directory('grasp_ros'), 'config', 'planner.yaml')
    descriptions = {
        'params_file': (str(params_file), "the planner's parameters, under the key /**/planner"),
        'model': ('', 'name or folder of a model; empty: as in params_file'),
        'device': ('', 'auto, cpu, cuda or cuda:N; empty: as in params_file'),
        'autostart': ('true', 'configure and activate the planner; if that fails, launch ends'),
        'namespace': ('', 'of the node and its topics'),
        'use_sim_time': ('', 'true: follow /clock; empty: as in params_file'),
        'log_level': ('info', 'debug, info, warn, error or fatal'),
        'image_topic': ('image', "the camera's images"),
        'goal_image_topic': ('goal_image', 'what the camera shall see in the end'),
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
    params_file = LaunchConfiguration('params_file').perform(context)
    # launch_ros only warns, and the robot would move with parameters that nobody chose.
    if not Path(params_file).is_file():
        raise RuntimeError(f'params_file: there is no file {params_file!r}')
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=value_type)
        for name, value_type in OVERRIDES.items()
        if LaunchConfiguration(name).perform(context)
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
        *_autostart_handlers(planner),
        planner,
        EmitEvent(event=_change(planner, Transition.TRANSITION_CONFIGURE)),
    ]


def _autostart_handlers(planner: LifecycleNode) -> list[LaunchDescriptionEntity]:
    """Activate the planner once it is configured; where that fails, end launch with status 1.

    Only the first time: what is done by hand later, and an end in mid-run, are not our business.
    An exception is the one way to an exit status that the versions of launch share.
    """

    def is_configured(event: Event) -> bool:
        return (
            isinstance(event, StateTransition)
            and event.action is planner
            and event.start_state == 'configuring'
        )

    def activate(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        if context.is_shutdown:
            return []
        if context.locals.event.goal_state != 'inactive':
            raise RuntimeError('planner: could not be configured; its own message says why')
        return [
            UnregisterEventHandler(ended_early),
            EmitEvent(event=_change(planner, Transition.TRANSITION_ACTIVATE)),
        ]

    # Without this, launch would wait for the service of a node that is no more.
    def end(event: Event, context: LaunchContext) -> None:
        if not context.is_shutdown:
            raise RuntimeError('planner: ended before it was configured')

    ended_early = OnProcessExit(target_action=planner, on_exit=end)
    configured = OnStateTransition(
        matcher=is_configured, entities=[OpaqueFunction(function=activate)], handle_once=True
    )
    return [RegisterEventHandler(ended_early), RegisterEventHandler(configured)]


def _change(planner: LifecycleNode, transition: int) -> ChangeState:
    return ChangeState(lifecycle_node_matcher=matches_action(planner), transition_id=transition)
