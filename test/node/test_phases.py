"""Phase times: what is recorded, how it is summed up, and that the controller names its phases."""

from contextlib import contextmanager

import numpy as np
import pytest

from grasp_ros.control.controller import Controller
from grasp_ros.control.limits import Limits
from grasp_ros.models.protocol import LoadedModel
from grasp_ros.node.latency_trace import PhaseRecorder
from harness.controller_rig import CONFIG, Rig
from harness.toy_models import picture, preprocess

MS = 1_000_000


class Clock:
    """Says what time it is told to be."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


def recorder_of(durations_ms, window=600):
    clock = Clock()
    recorder = PhaseRecorder(clock, window)
    for duration in durations_ms:
        with recorder('plan'):
            clock.now_ns += round(duration * MS)
    return recorder


def test_median_percentile_and_longest_of_the_durations():
    summary = recorder_of([*range(1, 101), 1000])
    latency = summary.summary()['plan']
    assert latency.count == 101
    assert latency.median == pytest.approx(0.051)
    assert latency.p99 == pytest.approx(0.100)
    assert latency.longest == pytest.approx(1.0)


def test_only_the_window_is_summed_up_but_all_are_counted():
    recorder = recorder_of([1000, 1000, 2, 4, 6], window=3)
    latency = recorder.summary()['plan']
    assert (latency.count, latency.longest) == (5, pytest.approx(0.006))
    assert recorder.count('plan') == 5 and recorder.count('encode') == 0


def test_a_phase_that_raises_is_recorded_and_raises():
    clock = Clock()
    recorder = PhaseRecorder(clock)
    with pytest.raises(RuntimeError, match='no camera'), recorder('decode'):
        clock.now_ns += 5 * MS
        raise RuntimeError('no camera')
    assert recorder.summary()['decode'].longest == pytest.approx(0.005)


def test_the_sink_gets_each_span_with_its_image():
    clock, spans = Clock(), []
    recorder = PhaseRecorder(clock)
    recorder.sink = lambda *span: spans.append(span)
    clock.now_ns = 3
    with recorder('encode', 17):
        clock.now_ns = 8
    assert spans == [('encode', 17, 3, 8)]


def test_nothing_is_left_after_clearing():
    recorder = recorder_of([1, 2])
    recorder.clear()
    assert recorder.summary() == {} and recorder.count('plan') == 0


def test_the_controller_times_each_phase_with_the_image_that_it_is_spent_on():
    seen = []

    @contextmanager
    def timer(phase, image_ns=0):
        yield
        seen.append((phase, image_ns))

    rig = Rig()
    limits = Limits(rig.space.low, rig.space.high, np.full(2, np.inf))
    loaded = LoadedModel(rig.model, preprocess, rig.space)
    controller = Controller(loaded, rig.planner, limits, CONFIG, timer)
    controller.observe(lambda: picture(0.0, 0.0), 1_000 * MS)
    controller.set_goal(picture(3.0, 0.0))
    controller.plan(1_000 * MS)
    image = [phase for phase, image_ns in seen if image_ns == 1_000 * MS]
    goal = [phase for phase, image_ns in seen if image_ns == 0]
    assert image == ['decode', 'preprocess', 'encode', 'plan']
    assert goal == ['preprocess', 'encode']
