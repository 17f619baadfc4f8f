"""What is watched beside the controller, apart from ROS."""

import os
import threading

import pytest

from grasp_ros.node.configuration import FileChangeMonitor
from grasp_ros.node.live_parameters import refusal
from grasp_ros.node.planning_thread import PlanningThread
from grasp_ros.node.watchdog import (
    ClockStallMonitor,
    DeadlineMissCounter,
    Debounce,
    ImageFormatMonitor,
)
from grasp_ros.parameters.table import PARAMETERS, node_parameters


def test_a_steadied_condition_needs_some_in_a_row():
    steadied = Debounce(rise=2, fall=3)
    changes = [steadied.update(seen) for seen in [True, False, True, True, True]]
    assert changes == [False, False, False, True, False] and steadied.state
    changes = [steadied.update(seen) for seen in [False, False, True, False, False, False]]
    assert changes == [False] * 5 + [True] and not steadied.state


def test_a_clock_that_stands_is_noticed_until_it_moves_either_way():
    watch = ClockStallMonitor(100, 5000)
    assert watch.stood(100, 5400) == 400
    assert watch.stood(101, 5500) == 0
    assert watch.stood(101, 5700) == 200
    assert watch.stood(50, 5800) == 0


def test_files_that_are_written_replaced_or_removed_are_named_once(tmp_path):
    paths = [tmp_path / name for name in ('a', 'b', 'c')]
    for path in paths:
        path.write_bytes(b'12')
    watch = FileChangeMonitor(paths)
    assert watch.changed() == []
    paths[0].write_bytes(b'123')
    other = tmp_path / 'other'
    other.write_bytes(b'12')
    known = paths[1].stat()
    os.utime(other, ns=(known.st_atime_ns, known.st_mtime_ns))
    other.replace(paths[1])
    assert watch.changed() == paths[:2]
    assert watch.changed() == []
    paths[2].unlink()
    assert watch.changed() == paths[2:]
    paths[2].write_bytes(b'12')
    assert watch.changed() == paths[2:]


def test_late_solves_are_counted_and_told_of_once():
    late = DeadlineMissCounter()
    told = [late.add(0.2, 0.1) for _ in range(30)]
    assert late.count == 30
    assert told.count(True) == 1 and told[10]
    assert not any(late.add(0.105, 0.1) for _ in range(30))
    assert late.count == 30
    assert [late.add(0.2, 0.1) for _ in range(30)].count(True) == 1
    assert not any(late.add(9.9, 0.0) for _ in range(30))
    assert late.count == 60


def test_a_change_of_pictures_names_both_kinds():
    watch = ImageFormatMonitor()
    assert watch.change('64 x 64 in rgb8') == ''
    assert watch.change('64 x 64 in rgb8') == ''
    assert 'from 64 x 64 in rgb8 to 32 x 32 in bgr8' in watch.change('32 x 32 in bgr8')
    assert watch.change('32 x 32 in bgr8') == ''


def test_the_planning_thread_tells_how_long_it_is_busy():
    thread, begun, end = PlanningThread(), threading.Event(), threading.Event()
    assert thread.busy_s == 0.0

    def job():
        begun.set()
        end.wait(10.0)

    done = thread.call(job)
    assert begun.wait(10.0)
    first = thread.busy_s
    assert 0.0 < first < thread.busy_s
    assert not thread.stop(0.0)
    end.set()
    done.result(10.0)
    assert thread.stop(10.0)
    assert thread.busy_s == 0.0


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ([('image_timeout', 1.0), ('max_novelty', 3.0), ('use_sim_time', True)], ''),
        ([('dry_run', True)], ''),
        ([('dry_run', False)], 'by surprise'),
        ([('image_timeout', 1.0), ('model', 'x'), ('device', 'cpu')], 'model, device: read at'),
        ([('image_timeout', -1.0)], "'image_timeout' is -1.0; allowed is [0.01, 60]"),
        ([('image_timeout', float('nan'))], 'give a finite number'),
        ([('qos_overrides./image.depth', 5)], 'read at configure'),
    ],
)
def test_only_harmless_changes_are_taken_while_configured(changes, reason):
    found = refusal(changes, node_parameters({}))
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.parametrize('name', ['model', 'device', 'control_rate', 'seed', 'planner.horizon'])
def test_what_decides_the_plan_of_the_node_is_fixed(name):
    (row,) = (row for row in PARAMETERS if row.name == name)
    assert not row.live


def test_no_topic_limit_or_message_may_change():
    outward = ('command.', 'image.', 'goal_image.')
    live = {row.name for row in PARAMETERS if row.live and row.name.startswith(outward)}
    assert live == {'command.conflict'}
