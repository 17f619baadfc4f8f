"""Only nodes need ROS; the core needs nothing but torch and numpy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import grasp_ros

ROOT = Path(grasp_ros.__file__).parent

IMPORT_ALL = """
import importlib, pkgutil, sys

BLOCKED = {
    'rclpy', 'rcl_interfaces', 'sensor_msgs', 'std_msgs', 'std_srvs', 'geometry_msgs',
    'trajectory_msgs', 'diagnostic_msgs', 'lifecycle_msgs', 'builtin_interfaces',
    'rosgraph_msgs', 'rosidl_parser', 'rosidl_runtime_c', 'rpyutils', 'ament_index_python',
    'launch', 'launch_ros', 'cv_bridge',
}

NEED_ROS = ('grasp_ros.nodes', 'grasp_ros.msg', 'grasp_ros.action')

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in BLOCKED or name.startswith(NEED_ROS):
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Block())
import grasp_ros
NOT_HERE = (*NEED_ROS, 'grasp_ros.grasp_ros')  # the last: of messages
count = 0
for module in pkgutil.walk_packages(grasp_ros.__path__[:1], 'grasp_ros.', lambda name: None):
    if not module.name.startswith(NOT_HERE):
        importlib.import_module(module.name)
        count += 1
print(count)
"""


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def test_everything_outside_nodes_imports_without_ros():
    done = subprocess.run(
        [sys.executable, '-c', IMPORT_ALL], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_the_core_imports_torch_and_numpy_only():
    files = sorted((ROOT / 'core').glob('*.py'))
    assert files
    for path in files:
        for name in imported_packages(path):
            package = name.split('.')[0]
            allowed = package in sys.stdlib_module_names or package in ('torch', 'numpy')
            assert allowed or name.startswith('grasp_ros.core'), f'{path.name} imports {name}'


def test_dependencies_point_one_way():
    """Planners and models know the core only; nobody but nodes knows nodes."""
    for path in sorted(ROOT.rglob('*.py')):
        folder = path.relative_to(ROOT).parts[0]
        for name in imported_packages(path):
            if not name.startswith('grasp_ros.'):
                continue
            target = name.split('.')[1]
            if folder not in ('nodes', 'msg', 'action'):
                assert target not in ('nodes', 'msg', 'action'), f'{path} imports {name}'
            if folder in ('planners', 'models'):
                assert target in ('core', folder), f'{path} imports {name}'


def test_the_simulated_robot_starts_without_torch():
    pytest.importorskip('rclpy')
    program = 'import sys, grasp_ros.tools.sim_robot; assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', program], check=True, timeout=120)
