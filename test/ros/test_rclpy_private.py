"""Private members of rclpy that this package uses are there, and none is hidden by its nodes."""

import ast
import inspect
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

import rclpy
from rclpy.action import ActionServer
from rclpy.lifecycle import LifecycleNode

import grasp_ros
from grasp_ros.ros import rclpy_private
from harness.ros_graph import ros

pytestmark = pytest.mark.ros

PACKAGE = Path(grasp_ros.__file__).parent
NODES = {'Node', 'LifecycleNode'}


@pytest.fixture
def node():
    """Return a lifecycle node that was given two parameters, one of which it declares."""
    with ros() as graph:
        given = ['--ros-args', '-p', 'rate:=2.5', '-p', 'names:=[a, b]']
        made = LifecycleNode('private', context=graph.context, cli_args=given)
        made.declare_parameter('rate', 1.0)
        yield made
        made.destroy_node()


def test_all_that_the_user_gave_is_found(node):
    given = rclpy_private.parameter_overrides(node)
    assert given.keys() == {'rate', 'names'}
    assert given['rate'] == 2.5
    assert list(given['names']) == ['a', 'b']


def test_the_lifecycle_state_is_found(node):
    assert rclpy_private.lifecycle_state(node) == 'unconfigured'
    node.trigger_configure()
    assert rclpy_private.lifecycle_state(node) == 'inactive'


def test_goals_are_executed_through_what_is_overridden():
    overridden = inspect.signature(rclpy_private.TickedActionServer.notify_execute)
    original = inspect.signature(ActionServer.notify_execute)
    assert list(overridden.parameters) == list(original.parameters)
    source = inspect.getsource(rclpy.action.server.ServerGoalHandle.execute)
    assert 'notify_execute' in source


def own_attributes():
    """Yield (class, attribute) for all that the package's nodes assign to themselves."""
    for path in sorted(PACKAGE.rglob('*.py')):
        for found in ast.walk(ast.parse(path.read_text())):
            if not isinstance(found, ast.ClassDef):
                continue
            if not NODES & {base.id for base in found.bases if isinstance(base, ast.Name)}:
                continue
            for inner in ast.walk(found):
                match inner:
                    case ast.Attribute(value=ast.Name(id='self'), ctx=ast.Store()):
                        yield found.name, inner.attr


def test_no_node_hides_a_member_of_rclpy(node):
    assigned = set(own_attributes())
    assert {name for name, _ in assigned} >= {'PlannerNode', 'SimRobotNode', 'RandomDriverNode'}
    taken = set(vars(node)) | set(dir(type(node)))
    assert not {(name, attribute) for name, attribute in assigned if attribute in taken}
