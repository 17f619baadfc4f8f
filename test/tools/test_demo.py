"""The command `demo` for real: does it judge, report, film, fail clearly and leave no process?"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip('rclpy')

from PIL import Image

import harness.ros_graph  # noqa: F401 (a ROS domain of the test's own)
from grasp_ros.models.calibration import Calibration
from grasp_ros.models.checkpoint import save_model
from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.tools.demo import command as demo
from grasp_ros.tools.demo.processes import NODE_MODULES
from grasp_ros.training.data.simulated import record
from grasp_ros.training.pipeline import write
from grasp_ros.training.recipes import RECIPES

pytestmark = pytest.mark.ros

PARAMETERS = """
/**/planner:
  ros__parameters:
    model: {model}
    goal_tolerance: 0.0
    planner:
      horizon: {horizon}
    grasp:
      iterations: 1
      candidates: 2
      proposals: 4
"""


@pytest.fixture(scope='module')
def untrained(tmp_path_factory):
    """Return a function that writes parameters for a model that has learned nothing."""
    folder = tmp_path_factory.mktemp('model')
    torch.manual_seed(0)
    write(
        folder,
        CompactModel(CompactConfig()),
        record(RECIPES['two_room'], 1, 2, 5, 0, action_std=1.0),
        Calibration(one_step_latent=1.0, one_step_time_to_reach=1.0),
        {'task': 'two_room'},
    )

    def parameters(horizon):
        path = folder / f'horizon_{horizon}.yaml'
        path.write_text(PARAMETERS.format(model=folder, horizon=horizon))
        return path

    return parameters


class Demo:
    """A demo that runs as a process."""

    def __init__(self, output, *arguments):
        self.output = output
        self.log = output.parent / 'log'
        with self.log.open('w') as file:
            self.popen = subprocess.Popen(
                [
                    sys.executable, '-m', 'grasp_ros.tools.demo.command', '--output', output,
                    *arguments,
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            )

    @property
    def said(self):
        return self.log.read_text()

    @property
    def report(self):
        return json.loads((self.output / 'report.json').read_text())

    def wait_for(self, condition, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.popen.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def nodes(self):
        """Process ids of its nodes by name."""
        own = self.popen.pid
        children = Path(f'/proc/{own}/task/{own}/children').read_text().split()
        lines = {int(pid): Path(f'/proc/{pid}/cmdline').read_text() for pid in children}
        return {
            name: pid
            for pid, line in lines.items()
            for name, module in NODE_MODULES.items()
            if module in line
        }


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a demo; whatever the test does, nothing of it is left."""
    started = []

    def start_demo(*arguments):
        started.append(Demo(tmp_path / 'out', *map(str, arguments)))
        return started[-1]

    yield start_demo
    for run in started:
        run.popen.kill()
        run.popen.wait()


@pytest.fixture(scope='module')
def untrained_push_t(tmp_path_factory):
    """Return parameters for a model of Push-T that has learned nothing."""
    pytest.importorskip('pymunk')
    from grasp_ros.training.data.push_t_data import describe

    description = describe(64, {})
    action = description.action
    folder = tmp_path_factory.mktemp('push_t')
    torch.manual_seed(0)
    save_model(
        folder,
        CompactModel(CompactConfig(action_dim=10)),
        image=description.image,
        model_dt=description.model_dt,
        frame_skip=description.frame_skip,
        action={**action.model_dump(), 'mean': [0.0, 0.0], 'std': [0.02, 0.02]},
        calibration=Calibration(one_step_latent=1.0, one_step_time_to_reach=1.0),
    )
    path = folder / 'parameters.yaml'
    path.write_text(PARAMETERS.format(model=folder, horizon=3))
    return path


def gone(pids):
    return not any(Path(f'/proc/{pid}').exists() for pid in pids)


def test_episodes_are_judged_reported_and_filmed(start, untrained):
    run = start('--episodes', 2, '--seed', 1000, '--params', untrained(6))
    run.wait_for(lambda: len(run.nodes()) == 2)
    children = run.nodes().values()
    status = run.popen.wait(60)
    report = run.report
    assert [episode['seed'] for episode in report['episodes']] == [1000, 1001]
    assert [episode['through_door'] for episode in report['episodes']] == [True, False]
    for episode in report['episodes']:
        assert episode['steps'] <= 9
        assert episode['final_distance_px'] >= 0.0
    reached = sum(episode['reached'] for episode in report['episodes'])
    assert status == (0 if reached == 2 else 1), run.said
    assert (report['horizon'], report['device'], report['torch_threads']) == (6, 'cpu', 1)
    assert 0.0 < report['replan_ms']['p50'] <= report['replan_ms']['p99']
    assert 0.0 <= report['command_jitter_ms']['p50'] <= report['command_jitter_ms']['p99']
    assert report['missed'] >= 0
    for name in ('film.gif', 'film_strip.png'):
        with Image.open(run.output / name) as film:
            assert film.width > 0
    assert (run.output / 'film.gif').stat().st_size <= 5_000_000
    assert (run.output / 'sim_robot.log').read_text()
    assert gone(children)


def test_the_model_that_comes_along_reaches_a_goal_in_either_room(start):
    run = start('--episodes', 2)
    assert run.popen.wait(90) == 0, run.said
    assert all(episode['reached'] for episode in run.report['episodes'])


def test_ctrl_c_ends_everything_and_reports_what_ran(start, untrained):
    run = start('--params', untrained(8), '--no-video')
    run.wait_for(lambda: 'episode 1 of 5' in run.said)
    children = run.nodes().values()
    run.popen.send_signal(signal.SIGINT)
    run.popen.send_signal(signal.SIGINT)
    assert run.popen.wait(20) == 130, run.said
    assert 'Traceback' not in run.said
    assert 1 <= len(run.report['episodes']) < 5
    assert not (run.output / 'film.gif').exists()
    assert gone(children)


@pytest.mark.parametrize('name', ['planner', 'sim_robot'])
def test_a_node_that_dies_is_named_with_its_log(start, untrained, name):
    run = start('--params', untrained(50), '--no-video')
    run.wait_for(lambda: (run.output / 'planner.log').exists() and len(run.nodes()) == 2)
    run.wait_for(lambda: 'new goal image' in (run.output / 'planner.log').read_text())
    nodes = run.nodes()
    os.kill(nodes[name], signal.SIGKILL)
    assert run.popen.wait(20) == 1
    assert f'demo: {name} ended by SIGKILL.' in run.said
    assert f'[{name}]' in run.said.partition('Last lines of')[2]
    assert gone(nodes.values())


def test_a_planner_that_cannot_be_configured_ends_the_demo(start, tmp_path):
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text(PARAMETERS.format(model='/nowhere', horizon=8))
    run = start('--params', parameters)
    assert run.popen.wait(60) == 1
    assert "model '/nowhere'" in run.said
    assert 'demo: the planner cannot be configured' in run.said
    assert 'Traceback' not in run.said
    assert not (run.output / 'report.json').exists()


def test_push_t_is_judged_by_its_own_criterion(start, untrained_push_t):
    run = start('--task', 'push_t', '--episodes', 1, '--seed', 1001, '--params', untrained_push_t)
    status = run.popen.wait(120)
    report = run.report
    assert report['task'] == 'push_t'
    (episode,) = report['episodes']
    assert (episode['seed'], episode['group']) == (1001, 'block_moves')
    assert 0 < episode['steps'] <= 50
    reached = episode['position_px'] < 20.0 and episode['angle_deg'] < 20.0
    assert episode['reached'] == reached and status == (0 if reached else 1), run.said
    assert report['success']['block_moves']['episodes'] == 1
    assert 'RUNNING' in (run.output / 'planner.log').read_text()
    with Image.open(run.output / 'film_strip.png') as film:
        assert film.width > 0


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (['--episodes', '0'], '0 episodes'),
        (['--task', 'push_t', '--episodes', '0'], '0 episodes'),
        (['--seed', '-2'], 'first seed is -2'),
        (['--seed', str(2**31)], 'too large'),
        (['--required-successes', '6'], 'between 0 and 5'),
        (['--params', 'no.yaml'], 'no.yaml: it cannot be read'),
    ],
)
def test_wrong_arguments(arguments, fault, capsys):
    with pytest.raises(SystemExit) as ended:
        demo.main(arguments)
    assert ended.value.code == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize('content', ['', '- a\n', 'a: [\n', 'plannr:\n  ros__parameters: {}\n'])
def test_parameters_that_ros_would_ignore_are_refused(content, tmp_path, capsys):
    path = tmp_path / 'parameters.yaml'
    path.write_text(content)
    with pytest.raises(SystemExit):
        demo.main(['--params', str(path)])
    assert f'--params {path}: ' in capsys.readouterr().err
