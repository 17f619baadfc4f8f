"""Does the package hang together: versions, messages, executables, installed files?"""

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from grasp_ros.control.types import State

ROOT = Path(__file__).resolve().parents[1]
NOT_FOR_MAKE = {'ray', 'tensorboard'}  # too big for what it is to most


def distribution():
    """Return the metadata that pip installed; colcon's name no requirements."""
    try:
        found = importlib.metadata.distribution('grasp_ros')
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('not installed')
    return found if found.requires else pytest.skip('not installed with pip')


def prefix():
    """Return where the package is installed, as ROS tools find it."""
    ament = pytest.importorskip('ament_index_python')
    try:
        return Path(ament.get_package_prefix('grasp_ros'))
    except (KeyError, LookupError):
        pytest.skip('AMENT_PREFIX_PATH does not lead to grasp_ros')


def version():
    return ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version')


def test_changelog_starts_with_the_version():
    changelog = (ROOT / 'CHANGELOG.rst').read_text()
    assert re.search(r'^(\d+\.\d+\.\d+) \(.+\)\n-+$', changelog, re.MULTILINE)[1] == version()


def test_pip_and_package_xml_have_one_version():
    assert distribution().version == version()


def test_requirements_install_what_the_package_asks_for():
    requirement = pytest.importorskip('packaging.requirements').Requirement
    files = ROOT.glob('requirements*.txt')
    lines = [line.split('#')[0].strip() for file in files for line in file.open()]
    pins = {}
    for pin in map(requirement, filter(None, lines)):
        pins.setdefault(pin.name, []).append(next(iter(pin.specifier)).version)
    for asked in map(requirement, distribution().requires):
        if asked.name in NOT_FOR_MAKE:
            continue
        assert all(asked.specifier.contains(pin) for pin in pins[asked.name]), asked


def test_messages_are_importable():
    pytest.importorskip('rclpy')
    from grasp_ros.msg import ActionPlan

    assert ActionPlan(horizon=2, action_dim=1, actions=[0.1, 0.2]).actions[1] == 0.2


def test_messages_and_controller_have_the_same_states():
    pytest.importorskip('rclpy')
    from grasp_ros.msg import PlanStatus

    constants = {name: getattr(PlanStatus, name) for name in dir(PlanStatus) if name.isupper()}
    states = {name: value for name, value in constants.items() if isinstance(value, int)}
    assert {state.name: state.value for state in State} == states


def test_every_executable_starts_with_a_module_that_has_a_main():
    folder = prefix() / 'lib' / 'grasp_ros'
    scripts = sorted(path for path in folder.iterdir() if os.access(path, os.X_OK))
    assert {'planner', 'goal', 'train', 'demo'} <= {script.name for script in scripts}
    for script in scripts:
        module = re.search(r'from (grasp_ros\.\S+) import main', script.read_text())[1]
        if module.startswith(('grasp_ros.node.', 'grasp_ros.tools.')):
            pytest.importorskip('rclpy')
        assert callable(importlib.import_module(module).main), script


def test_executables_name_a_python_without_torch():
    for script in (prefix() / 'lib' / 'grasp_ros').iterdir():
        assert os.access(script, os.X_OK)
        # -I -S: a Python that sees no installed package, as outside the right environment.
        command = [sys.executable, '-I', '-S', script]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 2
        assert sys.executable in ended.stderr and 'must be the active one' in ended.stderr


def test_launch_files_start_executables_that_are_installed():
    installed = {path.name for path in (prefix() / 'lib' / 'grasp_ros').iterdir()}
    for file in sorted((ROOT / 'launch').glob('*.launch.py')):
        named = re.findall(r"executable='(\w+)'", file.read_text())
        assert named and set(named) <= installed, file


@pytest.mark.parametrize(
    'pattern', ['launch/*.launch.py', 'config/*.yaml', 'config/*.xml', 'msg/*.msg']
)
def test_share_holds_every_file(pattern):
    share = prefix() / 'share' / 'grasp_ros'
    sources = {path.name: path.read_text() for path in ROOT.glob(pattern)}
    assert {path.name: path.read_text() for path in share.glob(pattern)} == sources
