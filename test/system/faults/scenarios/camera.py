"""Scenarios: what can be wrong with the camera."""

from __future__ import annotations

from array import array

import numpy as np
from sensor_msgs.msg import Image

from grasp_ros.control.types import State
from grasp_ros.ros.ros_messages import image_message, time_message
from system.faults.bench import PATIENCE_S, PlannerTestBench
from system.faults.camera import FRAME, Pixels, ScriptedCamera
from system.faults.scenario import (
    Outcome,
    Scenario,
    commission,
    drives_on,
    injected,
    omission,
    recovers,
    tolerated,
)

SECOND = 10**9
LITTLE = SECOND // 5


def _stops(bench: PlannerTestBench) -> Outcome:
    return omission(bench, _silence, State.STALE_IMAGE)


def _silence(camera: ScriptedCamera) -> None:
    camera.sending = False


def _freezes_by_stamp(bench: PlannerTestBench) -> Outcome:
    def freeze(camera: ScriptedCamera) -> None:
        frozen = camera.sent[-1][1]
        camera.restamp = lambda _stamp: frozen

    return omission(bench, freeze, State.STALE_IMAGE)


def _freezes_by_content(bench: PlannerTestBench) -> Outcome:
    def freeze(camera: ScriptedCamera) -> None:
        frozen = camera.robot.image()
        camera.alter = lambda _image: frozen

    return omission(bench, freeze, State.BAD_IMAGE)


def _goes_dark(bench: PlannerTestBench) -> Outcome:
    def darken(camera: ScriptedCamera) -> None:
        camera.alter = np.zeros_like

    return commission(bench, darken, State.BAD_IMAGE)


def _is_covered(bench: PlannerTestBench) -> Outcome:
    def cover(camera: ScriptedCamera) -> None:
        camera.alter = lambda image: np.full_like(image, 128)

    return commission(bench, cover, State.BAD_IMAGE)


def _shows_the_unfamiliar(bench: PlannerTestBench) -> Outcome:
    def invert(camera: ScriptedCamera) -> None:
        camera.alter = lambda image: np.asarray(255 - image, dtype=np.uint8)

    return commission(bench, invert, State.BAD_IMAGE)


def _jumps_back_a_little(bench: PlannerTestBench) -> Outcome:
    """For two periods images are refused."""
    bench.run()
    camera = bench.camera

    def jump(camera: ScriptedCamera) -> None:
        camera.restamp = lambda stamp: stamp - LITTLE

    fault_s = injected(bench, jump)
    newest = camera.sent[-1][1] + LITTLE
    reaction_s = drives_on(bench, fault_s)
    bench.wait(
        lambda: bench.planned_from_since(newest), PATIENCE_S, 'images stay refused'
    )
    return Outcome(reaction_s, recovers(bench))


def _jumps_back(bench: PlannerTestBench) -> Outcome:
    def jump(camera: ScriptedCamera) -> None:
        camera.restamp = lambda stamp: stamp - 10 * SECOND

    return commission(bench, jump, State.STALE_IMAGE)


def _is_ahead(bench: PlannerTestBench) -> Outcome:
    def run_ahead(camera: ScriptedCamera) -> None:
        camera.restamp = lambda stamp: stamp + 10 * SECOND

    return omission(bench, run_ahead, State.STALE_IMAGE)


def _is_late(bench: PlannerTestBench) -> Outcome:
    def delay(camera: ScriptedCamera) -> None:
        camera.delay_s = 1.0

    return omission(bench, delay, State.STALE_IMAGE)


def _floods(bench: PlannerTestBench) -> Outcome:
    return tolerated(bench, lambda camera: camera.flood(10))


def _changes_resolution(bench: PlannerTestBench) -> Outcome:
    def enlarge(camera: ScriptedCamera) -> None:
        camera.alter = lambda image: image.repeat(2, axis=0).repeat(2, axis=1)

    return tolerated(bench, enlarge)


def _encoded_as(encoding: str, stamp: int, image: Pixels) -> Image:
    return image_message(image, time_message(stamp), FRAME, encoding)


def _changes_encoding(bench: PlannerTestBench) -> Outcome:
    def swap(camera: ScriptedCamera) -> None:
        camera.encode = lambda image, stamp: _encoded_as('bgr8', stamp, image)

    return tolerated(bench, swap)


def _sends_unknown_encoding(bench: PlannerTestBench) -> Outcome:
    def rename(camera: ScriptedCamera) -> None:
        def encode(image: Pixels, stamp: int) -> Image:
            message = _encoded_as('rgb8', stamp, image)
            message.encoding = '16UC1'
            return message

        camera.encode = encode

    return omission(bench, rename, State.STALE_IMAGE)


def _sends_truncated(bench: PlannerTestBench) -> Outcome:
    def cut(camera: ScriptedCamera) -> None:
        def encode(image: Pixels, stamp: int) -> Image:
            message = _encoded_as('rgb8', stamp, image)
            message.data = array('B', bytes(np.ravel(image)[:1000]))
            return message

        camera.encode = encode

    return omission(bench, cut, State.STALE_IMAGE)


SCENARIOS: dict[str, Scenario] = {
    'camera stops': _stops,
    'camera freezes by stamp': _freezes_by_stamp,
    'camera freezes by content': _freezes_by_content,
    'camera goes dark': _goes_dark,
    'camera is covered': _is_covered,
    'camera shows something unfamiliar': _shows_the_unfamiliar,
    'camera jumps back a little': _jumps_back_a_little,
    'camera jumps back in time': _jumps_back,
    'camera is ahead of now': _is_ahead,
    'camera is late': _is_late,
    'camera floods': _floods,
    'camera changes resolution': _changes_resolution,
    'camera changes encoding': _changes_encoding,
    'camera sends an unknown encoding': _sends_unknown_encoding,
    'camera sends truncated images': _sends_truncated,
}
