"""The command `train_from_bags_demo` for real, with little data and a model that learns nothing."""

import json
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')

import harness.ros_graph  # noqa: F401 (a ROS domain of the test's own)
from grasp_ros.models.checkpoint import load_model

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LITTLE = [
    f'--{phase}-iterations=2' for phase in ('reach', 'predictor', 'decoder', 'manifold')
] + ['--iterations=2']


def run(output, *arguments):
    command = [
        sys.executable, '-m', 'grasp_ros.tools.demo.train_from_bags', f'--output={output}',
        '--episodes=12', '--time-scale=5.0', '--judged-episodes=1', *arguments,
        '--', *LITTLE,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def test_it_goes_from_bags_to_judged_episodes(tmp_path):
    ended = run(tmp_path / 'out', '--required-successes=1')
    assert ended.returncode == 1, 'a model that learned nothing does not reach a goal'
    assert 'reached          0 of 1' in ended.stdout, ended.stderr
    assert len(list((tmp_path / 'out' / 'bags').iterdir())) == 4
    _, manifest = load_model(tmp_path / 'out' / 'model')
    assert manifest.action.names == ['linear.x', 'linear.y']
    stages = json.loads((tmp_path / 'out' / 'stages.json').read_text())
    assert list(stages) == ['record', 'train', 'drive']
    assert all(stage['cpu_s'] > 0 for stage in stages.values())


def test_a_stage_that_fails_ends_it_with_its_name(tmp_path):
    ended = run(tmp_path / 'out', '--episodes=2')
    assert ended.returncode == 1
    assert 'training ended with status 2' in ended.stderr
    assert 'at least 500 are needed' in ended.stderr
