"""Play a recorded bag through the real planner, on the clock of the recording."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    params_file = Path(get_package_share_directory('grasp_ros'), 'config', 'planner.yaml')
    planner_arguments = {
        'params_file': (str(params_file), "the planner's parameters, under the key /**/planner"),
        'model': ('', 'name or folder of a model; empty: as in params_file'),
        'device': ('', 'auto, cpu, cuda or cuda:N; empty: as in params_file'),
        'namespace': ('', 'of the nodes and their topics'),
        'log_level': ('info', 'of the nodes: debug, info, warn, error or fatal'),
    }
    descriptions = {
        'rate': ('1.0', 'times the speed of the recording'),
        'image_topic': ('image', 'of the camera in the bag'),
        'goal_image_topic': ('goal_image', 'of the goals in the bag'),
        'record': ('', 'folder for a new bag of what the planner does; empty: none'),
        **planner_arguments,
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='folder of a bag, or one .mcap or .db3 file'),
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in descriptions.items()
            ),
            OpaqueFunction(function=_start, args=[tuple(planner_arguments)]),
        ]
    )


def _start(
    context: LaunchContext, planner_arguments: tuple[str, ...]
) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    namespace = f'/{value("namespace").strip("/")}'.rstrip('/')
    common = {
        'package': 'grasp_ros',
        'namespace': LaunchConfiguration('namespace'),
        'ros_arguments': ['--log-level', LaunchConfiguration('log_level')],
        'output': 'screen',
    }
    player = Node(
        executable='play',
        arguments=[
            value('bag'),
            '--rate', value('rate'),
            '--image-topic', value('image_topic'),
            '--goal-topic', value('goal_image_topic'),
            '--wait-for', f'{namespace}/planner',
        ],
        **common,
    )
    recorder = Node(
        executable='record',
        arguments=['--output', value('record')],
        parameters=[{'use_sim_time': True}],
        **common,
    )
    # The topics' arguments are those of the bag, not of the planner: a scope of its own.
    planner = GroupAction(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name('planner.launch.py'))),
                launch_arguments=[
                    *((name, LaunchConfiguration(name)) for name in planner_arguments),
                    ('use_sim_time', 'true'),
                    ('image_topic', 'image'),
                    ('goal_image_topic', 'goal_image'),
                ],
            )
        ]
    )
    handler = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=_end))
    return [handler, planner, *([recorder] if value('record') else []), player]


def _end(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The end of the bag is the end of all; a player that failed makes launch fail."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError('play: could not play the bag; its own message says why')
    return [Shutdown(reason='the bag has ended')]
