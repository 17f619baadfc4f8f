"""The launch files, run by the real launch: active, moving, and ended without a mess."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

# Not `launch` itself: without ROS, the folder of that name here would pass for it.
pytest.importorskip('launch_pytest', reason='launch_pytest comes with ROS and not from PyPI')
pytest.importorskip('launch_ros', reason='launch_ros comes with ROS and not from PyPI')

import launch_pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters

from grasp_ros.bags.message_types import stamp_ns
from grasp_ros.bags.reader import BagReader
from grasp_ros.ros.qos import command_qos
from harness.ros_graph import ros

pytestmark = pytest.mark.ros

FOLDER = Path(__file__).resolve().parents[1] / 'launch'
BAG = Path(__file__).parent / 'data' / 'two_room'
START_S = 90.0  # importing torch, loading, warming up; on a busy machine
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
included = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(file),
    launch_arguments=[argument.split(':=', 1) for argument in arguments],
)
service = LaunchService()
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


def included(file, **arguments):
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(FOLDER / file)),
                launch_arguments=arguments.items(),
            )
        ]
    )


@dataclass(frozen=True)
class Launched:
    """Launch in a process group of its own, as a terminal would have started it."""

    popen: subprocess.Popen
    log: Path

    @property
    def output(self):
        return self.log.read_text()

    def ended(self):
        return self.popen.poll() is not None

    def interrupt(self):
        """Press Ctrl-C: the signal goes to the whole group."""
        os.killpg(self.popen.pid, signal.SIGINT)


@contextlib.contextmanager
def launched(file, *arguments):
    """Run a launch file; what is left of it ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / 'output'
        with log.open('w') as output:
            popen = subprocess.Popen(
                [sys.executable, '-c', RUN, str(FOLDER / file), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', 'RCUTILS_COLORIZED_OUTPUT': '0'},
                start_new_session=True,
            )
        try:
            yield Launched(popen, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()


def call(graph, node, kind, name, request):
    client = node.create_client(kind, name)
    assert graph.spin_until(client.service_is_ready, START_S), name
    future = client.call_async(request)
    assert graph.spin_until(future.done, START_S), name
    return future.result()


def becomes(graph, node, name, state):
    """Wait until the lifecycle node `name` is in `state`; return whether it came to that."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        answer = call(graph, node, GetState, f'{name}/get_state', GetState.Request())
        if answer.current_state.label == state:
            return True
        graph.spin_for(0.2)
    return False


@launch_pytest.fixture
def the_planner():
    return included(
        'planner.launch.py', namespace='robot1', device='cpu', command_topic='/elsewhere/command'
    )


@pytest.mark.launch(fixture=the_planner)
def test_the_planner_becomes_active_where_and_as_it_is_told():
    with ros() as graph:
        node = graph.node()
        assert becomes(graph, node, '/robot1/planner', 'active')
        names = ['device', 'planner.horizon', 'use_sim_time']
        answer = call(
            graph,
            node,
            GetParameters,
            '/robot1/planner/get_parameters',
            GetParameters.Request(names=names),
        )
        device, horizon, use_sim_time = answer.values
        assert device.string_value == 'cpu'
        assert horizon.integer_value == 50
        assert not use_sim_time.bool_value
        assert graph.spin_until(lambda: node.count_publishers('/elsewhere/command'))
        assert node.count_subscribers('/robot1/image') == 1


@launch_pytest.fixture
def a_planner_to_be_configured_by_hand():
    return included('planner.launch.py', namespace='robot2', autostart='false')


@pytest.mark.launch(fixture=a_planner_to_be_configured_by_hand)
def test_without_autostart_the_planner_waits():
    with ros() as graph:
        node = graph.node()
        assert becomes(graph, node, '/robot2/planner', 'unconfigured')
        graph.spin_for(3.0)
        assert becomes(graph, node, '/robot2/planner', 'unconfigured')


@launch_pytest.fixture
def the_demo():
    return included('demo.launch.py', seed='1')


@pytest.mark.launch(fixture=the_demo)
def test_the_demo_moves_the_robot():
    with ros() as graph:
        places = []
        graph.node().create_subscription(
            PoseStamped, 'ground_truth/pose', lambda message: places.append(message.pose.position),
            10,
        )

        def moved():
            return places and max(
                abs(places[-1].x - places[0].x), abs(places[-1].y - places[0].y)
            ) > 0.2

        assert graph.spin_until(moved, START_S)


def test_ctrl_c_stops_the_robot_and_leaves_no_traceback():
    with ros() as graph, launched('demo.launch.py', 'seed:=0') as demo:
        commands = []
        graph.node().create_subscription(
            TwistStamped, 'command', lambda message: commands.append(message.twist.linear),
            command_qos(),
        )
        moving = lambda: commands and (commands[-1].x or commands[-1].y)  # noqa: E731
        assert graph.spin_until(moving, START_S), demo.output
        demo.interrupt()
        assert graph.spin_until(demo.ended), demo.output
        graph.spin_for(0.5)
        assert (commands[-1].x, commands[-1].y) == (0.0, 0.0)
        assert demo.output.count('process has finished cleanly') == 2, demo.output
        assert 'Traceback' not in demo.output


def test_a_bag_is_played_through_the_planner_and_what_it_does_recorded(tmp_path):
    with ros(), launched('replay.launch.py', f'bag:={BAG}', f'record:={tmp_path}/again') as replay:
        assert replay.popen.wait(START_S) == 0, replay.output
        assert replay.output.count('process has finished cleanly') == 3, replay.output
        assert 'Traceback' not in replay.output, replay.output
    with BagReader(BAG) as played, BagReader(tmp_path / 'again') as bag:
        recorded = [item.message for item in bag.messages(['/command'])]
        assert any(message.twist.linear.x for message in recorded)
        # On the clock of the bag, not of today.
        begins_ns, ends_ns = played.start_ns, played.start_ns + played.duration_s * 1e9
        assert all(begins_ns <= stamp_ns(message) <= ends_ns + 1e9 for message in recorded)


def test_a_bag_that_cannot_be_played_ends_launch():
    with launched('replay.launch.py', 'bag:=/no/such/bag', 'namespace:=robot5') as replay:
        assert replay.popen.wait(START_S) == 1
        assert 'no such bag' in replay.output


@pytest.mark.parametrize(
    ('argument', 'reason'),
    [
        ('model:=/no/such/model', '/no/such/model'),
        ('params_file:=/no/such/file.yaml', "there is no file '/no/such/file.yaml'"),
        ('use_sim_time:=perhaps', 'perhaps'),
    ],
)
def test_what_cannot_start_says_so_and_ends(argument, reason):
    with launched('planner.launch.py', 'namespace:=robot3', argument) as planner:
        assert planner.popen.wait(START_S) == 1
        assert reason in planner.output


def test_a_node_that_refuses_to_start_ends_launch(tmp_path):
    file = tmp_path / 'misspelt.yaml'
    file.write_text('/**/planner: {ros__parameters: {dry_rum: true}}')
    with launched('demo.launch.py', 'namespace:=robot4', f'params_file:={file}') as demo:
        assert demo.popen.wait(START_S) == 1
        assert "did you mean 'dry_run'" in demo.output
