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

ROOT = Path(__file__).resolve().parents[1]
EXECUTABLES = {
    'planner': 'grasp_ros.node.planner',
    'sim_robot': 'grasp_ros.tools.sim_robot',
    'goal': 'grasp_ros.tools.goal',
    'demo': 'grasp_ros.tools.demo.command',
    'train': 'grasp_ros.training.command',
    'benchmark': 'grasp_ros.benchmark.command',
    'convert': 'grasp_ros.models.convert.__main__',
    'record': 'grasp_ros.tools.record',
    'replay': 'grasp_ros.tools.replay',
    'play': 'grasp_ros.tools.play',
}
NOT_FOR_MAKE = {'ray', 'tensorboard'}  # too big for what it is to most
STATES = [
    'WAITING_IMAGE', 'WAITING_GOAL', 'PLANNING', 'RUNNING', 'REACHED', 'DISABLED', 'STALE_IMAGE',
    'PLAN_EXPIRED', 'PLANNER_ERROR', 'BAD_PLAN', 'BAD_IMAGE', 'STALLED', 'CONFLICT',
]  # fmt: skip


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
    from grasp_ros.msg import ActionPlan, PlanStatus

    assert [getattr(PlanStatus, state) for state in STATES] == list(range(len(STATES)))
    assert ActionPlan(horizon=2, action_dim=1, actions=[0.1, 0.2]).actions[1] == 0.2


@pytest.mark.parametrize('module', EXECUTABLES.values())
def test_executables_have_an_entry_point(module):
    if module.startswith(('grasp_ros.node.', 'grasp_ros.tools.')):
        pytest.importorskip('rclpy')
    assert callable(importlib.import_module(module).main)


@pytest.mark.parametrize('name', EXECUTABLES)
def test_executables_name_a_python_without_torch(name):
    script = prefix() / 'lib' / 'grasp_ros' / name
    assert os.access(script, os.X_OK)
    # -I -S: a Python that sees no installed package, as outside the right environment.
    ended = subprocess.run([sys.executable, '-I', '-S', script], capture_output=True, text=True)
    assert ended.returncode == 2
    assert sys.executable in ended.stderr and 'must be the active one' in ended.stderr


@pytest.mark.parametrize(
    'pattern', ['launch/*.launch.py', 'config/*.yaml', 'config/*.xml', 'msg/*.msg']
)
def test_share_holds_every_file(pattern):
    share = prefix() / 'share' / 'grasp_ros'
    sources = {path.name: path.read_text() for path in ROOT.glob(pattern)}
    assert {path.name: path.read_text() for path in share.glob(pattern)} == sources
