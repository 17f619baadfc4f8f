"""Scenarios: what can be wrong with the camera."""

from __future__ import annotations

from array import array

import numpy as np
from sensor_msgs.msg import Image

from grasp_ros.control.types import State
from grasp_ros.ros.ros_messages import image_message, time_message
from system.faults.camera import FRAME, Picture, ScriptedCamera
from system.faults.scenario import (
    Outcome,
    Scenario,
    commission,
    drives_on,
    heals,
    omission,
    spoiled,
    tolerated,
)
from system.faults.stage import PATIENCE_S, PlannerTestBench

SECOND = 10**9
LITTLE = SECOND // 5


def _stops(stage: PlannerTestBench) -> Outcome:
    return omission(stage, _silence, State.STALE_IMAGE)


def _silence(camera: ScriptedCamera) -> None:
    camera.sending = False


def _freezes_by_stamp(stage: PlannerTestBench) -> Outcome:
    def freeze(camera: ScriptedCamera) -> None:
        frozen = camera.sent[-1][1]
        camera.restamp = lambda _stamp: frozen

    return omission(stage, freeze, State.STALE_IMAGE)


def _freezes_by_content(stage: PlannerTestBench) -> Outcome:
    def freeze(camera: ScriptedCamera) -> None:
        frozen = camera.robot.image()
        camera.alter = lambda _picture: frozen

    return omission(stage, freeze, State.BAD_IMAGE)


def _goes_dark(stage: PlannerTestBench) -> Outcome:
    def darken(camera: ScriptedCamera) -> None:
        camera.alter = np.zeros_like

    return commission(stage, darken, State.BAD_IMAGE)


def _is_covered(stage: PlannerTestBench) -> Outcome:
    def cover(camera: ScriptedCamera) -> None:
        camera.alter = lambda picture: np.full_like(picture, 128)

    return commission(stage, cover, State.BAD_IMAGE)


def _shows_the_unfamiliar(stage: PlannerTestBench) -> Outcome:
    def invert(camera: ScriptedCamera) -> None:
        camera.alter = lambda picture: np.asarray(255 - picture, dtype=np.uint8)

    return commission(stage, invert, State.BAD_IMAGE)


def _jumps_back_a_little(stage: PlannerTestBench) -> Outcome:
    """For two periods images are refused."""
    stage.run()
    camera = stage.camera

    def jump(camera: ScriptedCamera) -> None:
        camera.restamp = lambda stamp: stamp - LITTLE

    fault_s = spoiled(stage, jump)
    newest = camera.sent[-1][1] + LITTLE
    reaction_s = drives_on(stage, fault_s)
    stage.wait(
        lambda: stage.observer.planned_from_since(newest), PATIENCE_S, 'images stay refused'
    )
    return Outcome(reaction_s, heals(stage))


def _jumps_back(stage: PlannerTestBench) -> Outcome:
    def jump(camera: ScriptedCamera) -> None:
        camera.restamp = lambda stamp: stamp - 10 * SECOND

    return commission(stage, jump, State.STALE_IMAGE)


def _is_ahead(stage: PlannerTestBench) -> Outcome:
    def run_ahead(camera: ScriptedCamera) -> None:
        camera.restamp = lambda stamp: stamp + 10 * SECOND

    return omission(stage, run_ahead, State.STALE_IMAGE)


def _is_late(stage: PlannerTestBench) -> Outcome:
    def delay(camera: ScriptedCamera) -> None:
        camera.delay_s = 1.0

    return omission(stage, delay, State.STALE_IMAGE)


def _floods(stage: PlannerTestBench) -> Outcome:
    return tolerated(stage, lambda camera: camera.flood(10))


def _changes_resolution(stage: PlannerTestBench) -> Outcome:
    def enlarge(camera: ScriptedCamera) -> None:
        camera.alter = lambda picture: picture.repeat(2, axis=0).repeat(2, axis=1)

    return tolerated(stage, enlarge)


def _encoded_as(encoding: str, stamp: int, picture: Picture) -> Image:
    return image_message(picture, time_message(stamp), FRAME, encoding)


def _changes_encoding(stage: PlannerTestBench) -> Outcome:
    def swap(camera: ScriptedCamera) -> None:
        camera.encode = lambda picture, stamp: _encoded_as('bgr8', stamp, picture)

    return tolerated(stage, swap)


def _sends_unknown_encoding(stage: PlannerTestBench) -> Outcome:
    def rename(camera: ScriptedCamera) -> None:
        def encode(picture: Picture, stamp: int) -> Image:
            message = _encoded_as('rgb8', stamp, picture)
            message.encoding = '16UC1'
            return message

        camera.encode = encode

    return omission(stage, rename, State.STALE_IMAGE)


def _sends_truncated(stage: PlannerTestBench) -> Outcome:
    def cut(camera: ScriptedCamera) -> None:
        def encode(picture: Picture, stamp: int) -> Image:
            message = _encoded_as('rgb8', stamp, picture)
            message.data = array('B', bytes(np.ravel(picture)[:1000]))
            return message

        camera.encode = encode

    return omission(stage, cut, State.STALE_IMAGE)


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
