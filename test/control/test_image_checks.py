"""Pictures that must not be driven by: known verdicts on them, and the controller's stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grasp_ros.control.image_checks import GuardConfig, ImageGuard, Novelty, alike
from grasp_ros.control.observation import EncodedObservation, LatentContext, SensorData
from grasp_ros.control.types import State
from harness.controller_rig import CONFIG, MS, PERIOD, Rig
from harness.toy_models import picture

SIZE = (8, 8, 3)
FROZEN = GuardConfig(frozen_timeout=1.0, frozen_tolerance=2.0, visible_change=0.1)


def textured(offset=0):
    return (np.arange(np.prod(SIZE)).reshape(SIZE) + offset).astype(np.uint8)


class Film:
    """Shows one picture after another, 100 ms apart."""

    def __init__(self, config, novelty=None):
        self.guard, self.config = ImageGuard(novelty), config
        self.stamp_ns = 0

    def show(self, picture, change=1.0, duration_ns=PERIOD):
        self.stamp_ns += duration_ns
        pixels = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32)) / 255
        context = LatentContext(torch.zeros(1, 1, 2), (self.stamp_ns,))
        encoded = EncodedObservation(SensorData((picture,)), pixels, context, None)
        return self.guard.check(encoded, lambda: change, self.config)

    def faults(self, count, picture, **kwargs):
        return [self.show(picture, **kwargs).fault for _ in range(count)]


def test_a_picture_that_stays_while_motion_is_expected_is_frozen_after_the_timeout():
    film = Film(FROZEN)
    faults = film.faults(12, textured())
    assert faults[:10] == [''] * 10  # the first one is new, nine were 0.9 s
    assert 'camera is frozen: no change in 1.00 s' in faults[10]
    assert 'frozen_timeout is 1.00 s' in faults[11]


def test_a_frozen_camera_stays_so_while_the_robot_stands_and_until_the_picture_changes():
    film = Film(FROZEN)
    assert film.faults(11, textured())[-1]
    assert all(film.faults(20, textured(), change=0.0))
    assert film.show(textured(3)).fault == ''
    assert not any(film.faults(9, textured(3)))


def test_a_standing_robot_may_show_the_same_picture_for_ever():
    film = Film(FROZEN)
    assert not any(film.faults(100, textured(), change=0.05))


def test_time_in_which_no_motion_is_expected_does_not_count():
    film = Film(FROZEN)
    film.show(textured())
    for _ in range(9):
        assert not film.show(textured(), change=1.0).fault
        assert not film.show(textured(), change=0.0).fault
    assert film.show(textured(), change=1.0).fault


@pytest.mark.parametrize(('noise', 'frozen'), [(2, True), (3, False)])
def test_differences_within_the_tolerance_are_no_change(noise, frozen):
    film = Film(FROZEN)
    other = textured()
    other[4, 4, 1] += noise
    faults = [film.show(shown).fault for shown in [textured(), other] * 6]
    assert bool(faults[-1]) is frozen


def test_a_slow_drift_is_a_change():
    film = Film(FROZEN)
    assert not any(film.show(textured(step)).fault for step in range(40))


def test_pictures_of_different_sizes_are_different():
    assert not alike(textured(), textured()[:4], 255.0)
    assert alike(textured(), textured(), 0.0)
    assert not alike(textured(), textured(1), 0.0)


def test_differences_of_bytes_do_not_wrap():
    assert not alike(np.zeros(SIZE, np.uint8), np.full(SIZE, 255, np.uint8), 2.0)


def test_dark_pictures_and_those_without_contrast_are_refused_at_once():
    film = Film(GuardConfig(min_brightness=3.0, min_contrast=2.0))
    assert film.show(np.full(SIZE, 2, np.uint8)).fault == (
        'the image is dark: mean 2.0 of 255, min_brightness is 3.0'
    )
    assert film.show(np.full(SIZE, 128, np.uint8)).fault == (
        'the image shows nothing: standard deviation 0.0 of 255, min_contrast is 2.0'
    )
    assert film.show(textured()).fault == ''


def test_some_unfamiliar_pictures_in_a_row_warn_and_then_stop():
    novelties = iter([3.0, 3.0, 0.5, 1.5, 1.5, 1.5, 3.0, 3.0, 3.0, 1.5])
    film = Film(
        GuardConfig(max_novelty=2.0, novel_images=3),
        lambda latents, images: torch.tensor([next(novelties)]),
    )
    verdicts = [film.show(textured(step)) for step in range(10)]
    assert [bool(verdict.fault) for verdict in verdicts] == [False] * 8 + [True, False]
    assert [verdict.unfamiliar for verdict in verdicts] == [False] * 5 + [True] * 5
    assert 'novelty 3.00, max_novelty is 2.00' in verdicts[8].fault
    assert verdicts[8].novelty == 3.0


def test_without_a_bound_novelty_is_not_measured():
    film = Film(GuardConfig(), lambda latents, images: pytest.fail('measured'))
    assert np.isnan(film.show(textured()).novelty)


def test_the_same_picture_asked_again_counts_once():
    film = Film(GuardConfig(max_novelty=2.0), lambda latents, images: torch.tensor([3.0]))
    assert not any(film.faults(5, textured(), duration_ns=0))
    film.show(textured())
    assert film.show(textured()).fault


class Painter:
    """Decodes to grey of the latent's value; off the manifold by the same."""

    knows_manifold = True

    def decode(self, latents):
        return latents[:, :1, None, None].expand(-1, 3, 4, 4)

    def off_manifold(self, latents):
        return latents[:, 0]


def test_novelty_is_the_larger_of_its_measures():
    latents, images = torch.tensor([[0.5], [0.1]]), torch.zeros(2, 3, 4, 4)
    both = Novelty(Painter(), reconstruction_bound=0.25, off_manifold_bound=0.1)
    assert torch.allclose(both(latents, images), torch.tensor([5.0, 1.0]))
    assert torch.allclose(
        Novelty(Painter(), reconstruction_bound=0.25)(latents, images), torch.tensor([2.0, 0.4])
    )


GUARDED = replace(CONFIG, guard=FROZEN)


def running(config=GUARDED, **kwargs):
    rig = Rig(config, **kwargs)
    rig.position[:] = 1.0
    rig.goal(50.0, 0.0)
    rig.steps(4)
    assert rig.command().state is State.RUNNING
    return rig


def frozen_steps(rig, count, shown=None):
    """The camera shows where the robot was, or `shown`, with fresh stamps."""
    shown, commands = picture(*rig.position) if shown is None else shown, []
    for _ in range(count):
        rig.controller.observe(shown, rig.now)
        rig.plan()
        commands.append(rig.command())
        rig.wait()
    return commands


def test_a_camera_that_freezes_while_the_robot_moves_stops_it_within_the_timeout():
    rig = running()
    commands = frozen_steps(rig, 14)
    states = [command.state for command in commands]
    first = states.index(State.BAD_IMAGE)
    assert first <= 11
    assert set(states[first:]) == {State.BAD_IMAGE}
    assert all(not command.action.any() for command in commands[first:])
    assert rig.report.state is State.BAD_IMAGE and rig.report.plan is None
    rig.steps(3)  # now the camera shows where it came to a stop
    assert rig.command().state is State.RUNNING


def test_resuming_by_hand_gives_a_frozen_camera_another_chance():
    rig = running()
    assert frozen_steps(rig, 14)[-1].state is State.BAD_IMAGE
    rig.controller.enable(False)
    rig.controller.enable(True)
    assert frozen_steps(rig, 3)[-1].state is State.RUNNING
    assert frozen_steps(rig, 14)[-1].state is State.BAD_IMAGE


def test_a_replan_without_any_image_does_not_keep_the_guard_from_forgetting():
    rig = running()
    shown = picture(*rig.position)
    assert frozen_steps(rig, 14, shown)[-1].state is State.BAD_IMAGE
    rig.controller.reset()
    rig.goal(50.0, 0.0)
    rig.plan()  # as after a goal that comes before the first image
    assert rig.report.state is State.WAITING_IMAGE
    assert frozen_steps(rig, 3, shown)[-1].state is State.RUNNING


def test_a_robot_that_is_not_commanded_may_show_the_same_picture():
    rig = running(replace(GUARDED, dry_run=True))
    assert frozen_steps(rig, 30)[-1].state is State.RUNNING


def test_a_dark_picture_stops_the_robot_and_the_next_good_one_starts_it():
    rig = running(replace(CONFIG, guard=GuardConfig(min_brightness=1e-6)))
    rig.controller.observe(picture(0.0, 0.0), rig.now)
    assert rig.plan().state is State.BAD_IMAGE
    command = rig.command()
    assert command.state is State.BAD_IMAGE and 'dark' in command.reason
    assert not command.action.any()
    rig.wait(50 * MS)
    assert rig.plan().state is State.BAD_IMAGE  # asked again, without a new picture
    rig.steps(3)
    assert rig.command().state is State.RUNNING
