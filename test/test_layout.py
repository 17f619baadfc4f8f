"""The house keeps its rules: where files lie, what they import, and what needs ROS."""

import ast
import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from grasp_ros.moved import MOVED

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'grasp_ros'
GENERATED = ('msg', 'action')

MAX_FILES = 200
MAX_FILES_OF_A_FOLDER = 20
MAX_LINES = 400
SHARED_STEMS = {'__init__', '__main__', 'protocol', 'registry', 'command'}
"""Stems that several files may have, beside the parallel files of the tasks in sim/."""

ROOT_MODULES = ('machine', 'moved')
"""Files beside the folders; they import nothing of the package."""

CORE = ('control', 'planning', 'models')
MAY_IMPORT = {
    'models': (),
    'planning': ('models',),
    'control': ('planning', 'models', 'messages', 'parameters'),
    'messages': ('control', 'planning', 'models'),
    'parameters': ('control', 'planning', 'models', 'messages'),
    'ros': ('messages', 'parameters', *CORE),
    'bags': ('messages', 'parameters', *CORE),
    'sim': ('messages', *CORE),
    'training': ('bags', 'sim', 'messages', 'parameters', *CORE),
    'benchmark': ('training', 'bags', 'sim', 'messages', 'parameters', *CORE),
    'integrations': CORE,
    'node': ('ros', 'messages', 'parameters', *CORE),
    'tools': ('ros', 'training', 'bags', 'sim', 'messages', 'parameters', *CORE),
}
"""Which folders of the package a folder's files may import, beside its own."""

NEEDS_ROS = ('node', 'ros', 'tools')
"""Folders in which files may start nodes."""

IMPORT_ALL = """
import importlib, pkgutil, sys

BLOCKED = {
    'rclpy', 'rcl_interfaces', 'sensor_msgs', 'std_msgs', 'std_srvs', 'geometry_msgs',
    'trajectory_msgs', 'diagnostic_msgs', 'lifecycle_msgs', 'builtin_interfaces',
    'rosgraph_msgs', 'rosidl_parser', 'rosidl_runtime_c', 'rpyutils', 'ament_index_python',
    'launch', 'launch_ros', 'cv_bridge',
}
NEEDS_ROS = tuple(f'grasp_ros.{folder}' for folder in sys.argv[1:])

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in BLOCKED or name.startswith(NEEDS_ROS):
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Block())
import grasp_ros
NOT_HERE = (*NEEDS_ROS, 'grasp_ros.grasp_ros')  # the last: of messages
for module in pkgutil.walk_packages(grasp_ros.__path__[:1], 'grasp_ros.', lambda name: None):
    if not module.name.startswith(NOT_HERE) and not module.name.endswith('__main__'):
        print(importlib.import_module(module.name).__name__)
"""


def sources():
    """Return the package's own Python files, relative to it."""
    files = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob('*.py'))]
    return [path for path in files if path.parts[0] not in GENERATED]


def imported(path):
    """Return the modules that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path} imports relatively'
            # `from grasp_ros import images` names a module, too.
            names += (
                [f'{node.module}.{alias.name}' for alias in node.names]
                if node.module == 'grasp_ros' else [node.module]
            )
    return names


def folder_of(name):
    """Return the folder of a module of the package, or None for another's module."""
    parts = name.split('.')
    return parts[1] if parts[0] == 'grasp_ros' and len(parts) > 1 else None


def test_the_package_stays_within_its_numbers():
    files = sources()
    assert len(files) <= MAX_FILES
    long = {str(p): n for p in files
            if (n := len((PACKAGE / p).read_text().splitlines())) > MAX_LINES}
    assert not long
    folders = Counter(path.parent for path in files if path.name != '__init__.py')
    assert {str(p): n for p, n in folders.items() if n > MAX_FILES_OF_A_FOLDER} == {}


def test_no_two_files_share_a_stem():
    seen = {}
    for path in sources():
        if path.stem in SHARED_STEMS:
            continue
        task = path.parts[0] == 'sim'
        other = seen.setdefault(path.stem, (path, task))
        assert other[0] == path or (task and other[1]), f'{path} and {other[0]}'


@pytest.mark.parametrize('path', sources(), ids=str)
def test_imports_point_one_way(path):
    folder = path.parts[0] if len(path.parts) > 1 else None
    for name in imported(path):
        target = folder_of(name)
        if target is None:
            continue
        if target in GENERATED:
            assert folder in NEEDS_ROS, f'{path} imports {name}'
        elif target != folder and target not in ROOT_MODULES:
            allowed = MAY_IMPORT[folder] if folder else ()
            assert target in allowed, f'{path} imports {name}'


@pytest.mark.parametrize('path', [p for p in sources() if p.parts[0] in CORE], ids=str)
def test_the_core_needs_no_ros_package(path):
    for name in imported(path):
        assert name.split('.')[0] not in ('rclpy', 'launch', 'rosbags'), f'{path} imports {name}'


def test_everything_else_imports_without_ros():
    done = subprocess.run(
        [sys.executable, '-c', IMPORT_ALL, *NEEDS_ROS, *GENERATED],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = {
        '.'.join(('grasp_ros', *path.with_suffix('').parts)).removesuffix('.__init__')
        for path in sources()
        if path.parts[0] not in NEEDS_ROS and path.stem != '__main__'
    }
    assert set(done.stdout.split()) >= expected - {'grasp_ros'}


def assigned(function):
    """Return the attributes of `self` that a method assigns."""
    return {
        node.attr for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name) and node.value.id == 'self'
    }


def test_no_attribute_of_the_node_is_born_outside_its_constructor():
    tree = ast.parse((PACKAGE / 'node' / 'planner.py').read_text())
    node = next(each for each in tree.body if isinstance(each, ast.ClassDef))
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    born = assigned(methods['__init__'])
    assert born and set().union(*map(assigned, methods.values())) == born


@pytest.mark.parametrize('folder', NEEDS_ROS)
def test_what_needs_ros_imports_in_any_order(folder):
    pytest.importorskip('rclpy')
    modules = [
        '.'.join(('grasp_ros', *path.with_suffix('').parts))
        for path in sources() if path.parts[0] == folder and path.stem != '__init__'
    ]
    # Each with none of its folder loaded, so that a circle shows from wherever it is entered.
    program = f"""
import importlib, sys
for name in sys.argv[1:]:
    for old in [old for old in sys.modules if old.startswith('grasp_ros.{folder}.')]:
        del sys.modules[old]
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, '-c', program, *modules], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('old', MOVED)
def test_old_paths_still_work(old):
    new = MOVED[old]
    if new.split('.')[1] in NEEDS_ROS:
        pytest.importorskip('rclpy')
    with pytest.warns(DeprecationWarning, match=new):
        sys.modules.pop(old, None)
        module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__spec__.name == new


def test_an_old_path_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, '-m', 'grasp_ros.bags.replay', '--help'],
        capture_output=True, text=True, timeout=120, check=True,
    )
    assert 'usage: replay' in done.stdout


def test_the_simulated_robot_starts_without_torch():
    pytest.importorskip('rclpy')
    program = 'import sys, grasp_ros.tools.sim_robot; assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', program], check=True, timeout=120)
