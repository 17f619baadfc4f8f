"""The latency trace: valid JSON at any time, spans and flows as the Trace Event Format has them."""

import json
import threading
import time

import pytest

from grasp_ros.node import latency_trace as module
from grasp_ros.node.latency_trace import LatencyTrace, PhaseRecorder


@pytest.fixture
def traced(tmp_path):
    """Return a trace and a function that closes it and gives its events."""
    path = tmp_path / 'trace.json'
    trace = LatencyTrace(path, '/planner')

    def events():
        trace.close(10.0)
        return json.loads(path.read_text())

    yield trace, events
    trace.close(10.0)


def of(events, kind):
    return [event for event in events if event['ph'] == kind]


def test_spans_in_microseconds_with_their_image(traced):
    trace, events = traced
    trace('plan', 1_000_000_007, 5_000_000, 7_500_000)
    trace('encode', 0, 8_000_000, 8_000_500)
    plan, encode = of(events(), 'X')
    assert (plan['name'], plan['ts'], plan['dur']) == ('plan', 5000.0, 2500.0)
    assert plan['args'] == {'image_stamp_ns': '1000000007'}
    assert (encode['dur'], 'args' in encode) == (0.5, False)


def test_each_thread_has_a_name(traced):
    trace, events = traced
    trace('publish', 0, 1, 2)
    planning = threading.Thread(target=trace, args=('plan', 0, 3, 4), name='planning')
    planning.start()
    planning.join()
    found = events()
    names = {event['tid']: event['args']['name'] for event in of(found, 'M')}
    assert names[0] == '/planner'
    where = {event['name']: names[event['tid']] for event in of(found, 'X')}
    assert where == {'publish': 'executor', 'plan': 'planning'}


def test_an_image_is_followed_to_its_first_command(traced):
    trace, events = traced
    for phase in ('receive', 'decode', 'plan', 'publish', 'publish'):
        trace(phase, 17, 1000, 2000)
    trace('publish', 0, 3000, 4000)
    found = [event for event in events() if event['ph'] in 'stf']
    assert [event['ph'] for event in found] == ['s', 't', 'f']
    assert len({event['id'] for event in found}) == 1


def test_it_is_complete_json_while_it_is_written(traced, tmp_path):
    trace, _ = traced
    path = tmp_path / 'trace.json'
    assert len(json.loads(path.read_text())) == 1
    for number in range(3):
        trace('plan', 0, number, number + 1)
        deadline = time.monotonic() + 30.0
        while len(of(json.loads(path.read_text()), 'X')) <= number:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_what_the_disk_does_not_take_is_dropped_and_memory_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_PENDING', 10)
    monkeypatch.setattr(module, 'FLUSH_S', 60.0)
    trace = LatencyTrace(tmp_path / 'trace.json', '/planner')
    for number in range(100):
        trace('plan', 0, number, number + 1)
    assert trace.dropped == 91  # of 100 spans and the thread's name
    trace.close(10.0)
    assert len(of(json.loads((tmp_path / 'trace.json').read_text()), 'X')) == 9


def test_the_file_does_not_grow_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_BYTES', 10)
    trace = LatencyTrace(tmp_path / 'trace.json', '/planner')
    trace('plan', 0, 1, 2)
    trace.close(10.0)
    assert len(json.loads((tmp_path / 'trace.json').read_text())) == 1


def test_a_path_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match='missing'):
        LatencyTrace(tmp_path / 'missing' / 'trace.json', '/planner')


def test_as_a_sink_of_the_recorder(traced):
    trace, events = traced
    recorder = PhaseRecorder()
    recorder.sink = trace
    with recorder('decode', 5):
        pass
    assert [event['name'] for event in of(events(), 'X')] == ['decode']
