"""Start a simulated robot with a camera, and the planner that drives it to its goal image."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description() -> LaunchDescription:
    params_file = Path(get_package_share_directory('grasp_ros'), 'config', 'planner.yaml')
    planner_arguments = {
        'params_file': (str(params_file), "the planner's parameters, under the key /**/planner"),
        'model': ('', 'name or folder of a model; empty: as in params_file'),
        'device': ('', 'auto, cpu, cuda or cuda:N; empty: as in params_file'),
        'namespace': ('', 'of both nodes and their topics'),
        'log_level': ('info', 'of both nodes: debug, info, warn, error or fatal'),
    }
    descriptions = {
        'seed': ('0', 'of the episode: even ones lead through the door, odd ones stay in the room'),
        **planner_arguments,
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in descriptions.items()
            ),
            RegisterEventHandler(OnProcessExit(on_exit=_end)),
            Node(
                package='grasp_ros',
                executable='sim_robot',
                namespace=LaunchConfiguration('namespace'),
                parameters=[{'seed': ParameterValue(LaunchConfiguration('seed'), value_type=int)}],
                ros_arguments=['--log-level', LaunchConfiguration('log_level')],
                output='screen',
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name('planner.launch.py'))),
                launch_arguments=[(name, LaunchConfiguration(name)) for name in planner_arguments],
            ),
        ]
    )


def _end(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Robot and planner are of no use without each other."""
    # A second shutdown is an error in launch_ros.
    return [] if context.is_shutdown else [Shutdown(reason=f'{event.process_name} has ended')]
