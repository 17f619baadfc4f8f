"""Scenarios: what happens around the node, on its command topic and on the disk."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Header

from grasp_ros.control.types import State
from grasp_ros.models.checkpoint import WEIGHTS_NAME
from grasp_ros.ros.qos import command_qos
from grasp_ros.tools.demo.bench import START_S, BenchError
from system.faults.bench import INTRUDER, PATIENCE_S, PlannerTestBench
from system.faults.camera import ScriptedCamera
from system.faults.scenario import (
    Outcome,
    Scenario,
    drives_again,
    drives_on,
    injected,
    stopped,
)

RECORD = 'grasp_ros.tools.record'
ENLARGED, FLOOD = 3, 5
"""The disk is to fill up quickly: a chunk of the bag, a MiB, in 0.2 s."""


def _nobody_listens(bench: PlannerTestBench) -> Outcome:
    bench.run()
    fault_s = bench.now_s
    bench.listen(None)
    try:
        warned_s = bench.logged(fault_s, 'nobody listens')
        states = bench.states_since(fault_s)
    finally:
        bench.listen()
    if states != {State.RUNNING}:
        raise BenchError(f'the planner left RUNNING: {sorted(state.name for state in states)}')
    return Outcome(warned_s - fault_s, drives_again(bench))


def _another_publishes(bench: PlannerTestBench) -> Outcome:
    bench.run()
    fault_s = bench.now_s
    intruder = bench.node.create_publisher(TwistStamped, 'command', command_qos())
    try:
        intruder.publish(TwistStamped(header=Header(frame_id=INTRUDER)))
        reaction_s = stopped(bench, fault_s, State.CONFLICT)
    finally:
        bench.node.destroy_publisher(intruder)
    return Outcome(reaction_s, drives_again(bench))


def _model_is_replaced(bench: PlannerTestBench) -> Outcome:
    """The new file is good again before the node is asked to load it."""
    bench.run()
    weights = bench.model / WEIGHTS_NAME
    good, bad = weights.with_suffix('.good'), weights.with_suffix('.bad')
    shutil.copy(weights, good)
    bad.write_bytes(b'nothing that anybody could load')
    try:
        fault_s = bench.now_s
        bad.replace(weights)
        warned_s = bench.logged(fault_s, 'changed on disk')
        drives_on(bench, fault_s)
    finally:
        good.replace(weights)
        bench.forget_configuration()
    bench.run()
    return Outcome(warned_s - fault_s, True)


def _disk_is_full(bench: PlannerTestBench) -> Outcome:
    """Files of the recorder must not grow any more: to it that is a disk that is full."""

    def enlarge(camera: ScriptedCamera) -> None:
        camera.alter = lambda image: image.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
        camera.flood(FLOOD)

    bag = bench.folder / 'bag'
    shutil.rmtree(bag, ignore_errors=True)
    arguments = ['--output', str(bag), '--topics', 'image']
    with bench.process('record', RECORD, *arguments) as child:
        bench.wait(
            lambda: 'recording /image' in child.log.read_text(), START_S, 'record does not begin'
        )
        bench.run()
        injected(bench, enlarge)
        bench.wait(lambda: _size(bag) > 0, PATIENCE_S, 'nothing was recorded')
        fault_s = bench.now_s
        full = _size(bag)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (full, full))
        bench.wait(lambda: child.status is not None, PATIENCE_S, 'record goes on')
        reaction_s = bench.now_s - fault_s
        if child.status != 1:
            raise BenchError(f'record ended with status {child.status}.\n{child.log_tail(5)}')
    drives_on(bench, fault_s)
    bench.camera.heal()
    return Outcome(reaction_s, drives_again(bench))


def _size(bag: Path) -> int:
    """Bytes of the bag's data file."""
    return max((path.stat().st_size for path in bag.glob('*.mcap')), default=0)


SCENARIOS: dict[str, Scenario] = {
    'nobody listens to command': _nobody_listens,
    'second publisher on command': _another_publishes,
    'model file is replaced on disk': _model_is_replaced,
    'disk full while recording': _disk_is_full,
}
