"""Imagined against real: the error is known, and says by how many steps the model is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grasp_ros.control.image_checks import MAX_STEPS, PredictionCheck
from grasp_ros.control.observation import LatentContext
from harness.controller_rig import CONFIG, Rig

STEP = 100


def context(value, stamp_ns):
    return LatentContext(torch.full((1, 1, 4), float(value)), (stamp_ns,))


def constant_speed(speed):
    return lambda former, steps: former.newest + speed * steps


def errors(check, values, stamps, roll):
    pairs = zip(values, stamps, strict=True)
    return [check.update(context(value, stamp), roll) for value, stamp in pairs]


def test_a_model_that_is_right_has_no_error_from_the_second_picture_on():
    found = errors(PredictionCheck(STEP, 4.0), range(0, 20, 2), range(0, 1000, STEP),
                   constant_speed(2.0))  # fmt: skip
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.0] * 9)


def test_the_error_is_in_steps_of_motion_over_the_longest_comparison():
    """A robot that does not move while the model thinks so is wrong by all imagined steps."""
    found = errors(PredictionCheck(STEP, 4.0), [0] * 8, range(0, 800, STEP), constant_speed(2.0))
    assert found[1:] == pytest.approx([1, 2, 3, 4, 5, MAX_STEPS, MAX_STEPS])


def test_pictures_between_whole_steps_are_compared_with_none():
    found = errors(PredictionCheck(STEP, 1.0), [0, 0, 0], [0, 50, 110], constant_speed(1.0))
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(1.0)  # 110 after 0 is one step, to a quarter of it


def test_the_same_picture_again_changes_nothing():
    check = PredictionCheck(STEP, 1.0)
    errors(check, [0, 0], [0, STEP], constant_speed(1.0))
    assert check.update(context(7, STEP), constant_speed(1.0)) == pytest.approx(1.0)


def test_an_unknown_step_gives_an_unknown_error():
    found = errors(PredictionCheck(STEP, math.nan), [0, 0], [0, STEP], constant_speed(1.0))
    assert math.isnan(found[1])


def driven(scale, **changes):
    """A robot that does `scale` times what is commanded."""
    rig = Rig(replace(CONFIG, one_step_latent=0.02, **changes))
    rig.goal(3.0, -2.0)
    for _ in range(12):
        before = rig.position
        rig.step()
        rig.position = before + scale * (rig.position - before)
    return rig


def test_the_controller_finds_a_true_model_true_and_a_wrong_one_wrong():
    assert driven(1.0).report.prediction_error == pytest.approx(0.0, abs=1e-9)
    wrong = driven(0.5)
    assert wrong.report.prediction_error > 0.1
    moved = np.array([c.action for c in wrong.track[-MAX_STEPS - 1 : -1]]).sum(axis=0) / 10
    expected = np.sqrt(np.square(0.5 * moved).mean() / 0.02)
    assert wrong.report.prediction_error == pytest.approx(expected, rel=0.05)


def test_it_is_unknown_while_somebody_else_drives_and_after_a_reset():
    assert math.isnan(driven(1.0, dry_run=True).report.prediction_error)
    rig = driven(1.0)
    rig.controller.reset()
    rig.observe()
    report = rig.plan()
    assert report.encoded is not None and math.isnan(report.prediction_error)
