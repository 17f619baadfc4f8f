"""/diagnostics and the latency trace of a real planner."""

import json
import signal

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from harness.camera import START
from harness.planner_process import LARGE_IMAGES, planner

pytestmark = pytest.mark.ros
NAMES = ['images', 'planning', 'commands', 'model', 'controller']


class Listener:
    """The newest of /diagnostics that this planner says."""

    def __init__(self, bench):
        self._bench = bench
        self.arrays = []
        bench.node.create_subscription(DiagnosticArray, '/diagnostics', self.arrays.append, 10)

    def until(self, condition):
        """The first array from now on whose statuses, by name, satisfy a condition."""
        self.arrays.clear()
        self._bench.until(lambda: any(condition(self.named(array)) for array in self.arrays), 40.0)
        return next(named for array in self.arrays if condition(named := self.named(array)))

    @staticmethod
    def named(array):
        return {status.name.removeprefix('/planner: '): status for status in array.status}


def test_states_levels_and_a_trace_through_the_life_of_a_node(tmp_path):
    trace = tmp_path / 'trace.json'
    with planner() as bench:
        listener = Listener(bench)
        inactive = listener.until(lambda named: 'controller' in named)
        assert list(inactive) == ['controller']
        assert inactive['controller'].message == 'unconfigured'
        assert inactive['controller'].hardware_id == '/planner'

        bench.restart({'trace_file': str(trace), 'diagnostics.hold_time': 1.0})
        bench.run()
        running = listener.until(
            lambda named: 'controller' in named and named['controller'].message == 'RUNNING'
        )
        assert list(running) == NAMES
        assert running['controller'].level == DiagnosticStatus.OK
        values = {v.key: v.value for status in running.values() for v in status.values}
        for phase in ('decode', 'preprocess', 'encode', 'plan', 'publish', 'receive'):
            assert values[f'{phase} median / p99 / max'].count('ms') == 3
        assert values['planner'] == 'grasp' and values['state'] == 'RUNNING'

        bench.camera.make = None
        stale = listener.until(
            lambda named: 'images' in named and named['images'].level == DiagnosticStatus.ERROR
        )
        assert 'image_timeout' in stale['images'].message
        bench.camera.show()
        listener.until(
            lambda named: 'images' in named and named['images'].level == DiagnosticStatus.OK
        )
        assert bench.child.end(signal.SIGINT) == 0, bench.child.output
    events = json.loads(trace.read_text())
    spans = [event for event in events if event['ph'] == 'X']
    assert {'receive', 'decode', 'preprocess', 'encode', 'plan', 'publish'} <= {
        event['name'] for event in spans
    }
    threads = {e['args']['name']: e['tid'] for e in events if e['name'] == 'thread_name'}
    assert {e['tid'] for e in spans if e['name'] == 'plan'} == {threads['planning']}
    assert {e['tid'] for e in spans if e['name'] == 'publish'} == {threads['executor']}


def test_of_a_fast_camera_only_the_pictures_planned_from_are_decoded(tmp_path):
    """1280 x 720 at 60 Hz, on the planning thread alone; commands go on."""
    trace = tmp_path / 'trace.json'
    large = np.repeat(np.repeat(START, 12, axis=0), 20, axis=1)[:720]
    with planner(*LARGE_IMAGES) as bench:
        bench.restart({'trace_file': str(trace), 'goal_tolerance': 0.0})
        bench.camera.show(large)
        fast = bench.node.create_timer(1 / 60, bench.camera.publish)
        bench.camera.goal()
        bench.until_running()
        bench.commands.clear()
        bench.graph.spin_for(4.0)
        bench.node.destroy_timer(fast)
        assert len(bench.commands) > 20
        assert bench.child.end(signal.SIGINT) == 0, bench.child.output
    spans = [event for event in json.loads(trace.read_text()) if event['ph'] == 'X']
    threads = {name: {e['tid'] for e in spans if e['name'] == name} for name in ('plan', 'decode')}
    count = {name: sum(e['name'] == name for e in spans) for name in ('receive', 'decode')}
    assert threads['decode'] == threads['plan']
    assert 0 < count['decode'] < count['receive']


def test_a_trace_that_cannot_be_written_is_named_and_stops_nothing():
    with planner() as bench:
        bench.restart({'trace_file': '/nowhere/trace.json'})
        bench.run()
        assert "parameter 'trace_file': no trace is written" in bench.child.output
