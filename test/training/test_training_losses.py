"""Losses on known tensors, and the data that training draws."""

import math

import numpy as np
import pytest
import torch

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.sim import motion
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.training.data.dataset import frame_numbers
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.losses.latents import EpisodeLatents
from grasp_ros.training.losses.time_to_reach import reach_loss, sample_pairs
from grasp_ros.training.losses.world_model import (
    WorldModelWeights,
    covariance,
    inverse_heads,
    reach_separation,
    reach_violation,
    variance_hinge,
    world_model_loss,
)
from grasp_ros.training.phases import calibrate_manifold, denoiser_loss


def test_variance_is_wanted_up_to_one():
    spread = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    assert variance_hinge(spread).item() == pytest.approx((0 + 0.99) / 2)
    assert variance_hinge(torch.zeros(5, 3)).item() == pytest.approx(0.99)
    assert variance_hinge(10 * torch.randn(100, 3)).item() == 0.0


def test_covariance_counts_what_is_correlated():
    one = torch.tensor([1.0, -1.0, 1.0, -1.0])
    other = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert covariance(torch.stack([one, other], dim=1)).item() == pytest.approx(0.0)
    # The unbiased covariance of a column with itself is 4 / 3; it counts twice, over D = 2.
    assert covariance(torch.stack([one, one], dim=1)).item() == pytest.approx((4 / 3) ** 2)


def test_random_pairs_are_pushed_apart_up_to_an_offset():
    at_offset = reach_separation(torch.full((3,), 60.0))
    assert at_offset.item() == pytest.approx(10 * math.log(2), rel=1e-5)
    assert reach_separation(torch.zeros(3)).item() == pytest.approx(60.0, abs=0.1)
    assert reach_separation(torch.full((3,), 300.0)).item() == pytest.approx(0.0, abs=1e-3)


def test_only_distances_above_the_steps_violate():
    distance, steps = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([2.0, 4.0, 3.0])
    assert reach_violation(distance, steps).item() == pytest.approx((0 + 0 + 4) / 3)


def test_pairs_are_of_one_episode_with_their_steps_between_them():
    episodes, frames = 5, 41
    episode, step = torch.meshgrid(torch.arange(episodes), torch.arange(frames), indexing='ij')
    latents = EpisodeLatents.of(torch.stack([episode, step], dim=-1).float())
    early, late, steps = sample_pairs(latents, 4000, np.random.default_rng(0))
    assert torch.equal(early[:, 0], late[:, 0])
    assert torch.equal(late[:, 1] - early[:, 1], steps)
    assert steps.min() == 1
    assert steps.max() == 30
    assert early[:, 1].min() == 0
    assert late[:, 1].max() == frames - 1
    assert 0.4 < (steps <= 5).float().mean() < 0.65, 'log-uniform'


def test_pairs_of_short_and_long_episodes_lie_within_them():
    lengths = np.array([1, 40, 3])
    episode, step = frame_numbers(lengths)
    latents = EpisodeLatents(torch.from_numpy(np.stack([episode, step], axis=-1)).float(), lengths)
    early, late, steps = sample_pairs(latents, 4000, np.random.default_rng(0))
    assert torch.equal(early[:, 0], late[:, 0])
    assert torch.equal(late[:, 1] - early[:, 1], steps)
    assert late[:, 1].gt(torch.from_numpy(lengths)[late[:, 0].long()]).sum() == 0
    assert [steps[early[:, 0] == number].max() for number in range(3)] == [1, 30, 3]
    assert (early[:, 0] == 1).float().mean() == pytest.approx(40 / 44, abs=0.02)


@pytest.mark.parametrize('scale', [1e-3, 1e3])
def test_the_dual_weight_rises_while_the_constraint_is_violated(scale):
    torch.manual_seed(0)
    model = CompactModel(CompactConfig())
    latents = EpisodeLatents.of(scale * torch.randn(4, 20, 32))
    log_weight = torch.zeros((), requires_grad=True)
    terms = reach_loss(model, log_weight, latents, 64, np.random.default_rng(0))
    terms['total'].backward()
    violated = scale > 1
    assert (terms['violation'] > 1e-3) == violated
    assert (log_weight.grad < 0) == violated


def make_dataset(episodes=6, length=30, seed=0):
    world = TwoRooms()
    return MotionDataset([world], motion.collect(world, episodes, length, seed), 0.5)


def test_the_dataset_pairs_images_positions_and_actions():
    dataset = make_dataset()
    assert (dataset.episodes, dataset.length) == (6, 30)
    episodes, steps = np.array([[0], [3]]), np.array([[0, 5, 30]])
    images = dataset.images(*np.broadcast_arrays(episodes, steps))
    assert images.shape == (2, 3, 3, 64, 64)
    assert 0 <= images.min() <= images.max() <= 1
    here = dataset.motion.positions[3, 5]
    expected = torch.from_numpy(dataset.worlds[0].render(here[None])[0]).permute(2, 0, 1) / 255
    assert torch.equal(images[1, 1], expected)
    assert dataset.pixels(np.array([3]), np.array([5]))[0] == pytest.approx(here / 0.05)
    actions = dataset.actions(np.array([2, 4]), np.array([0, 7]), 3)
    assert actions.shape == (2, 3, 2)
    assert actions[1].numpy() == pytest.approx(dataset.motion.actions[4, 7:10] / 0.5)


def test_the_world_model_loss_is_the_weighted_sum_of_its_terms():
    torch.manual_seed(0)
    model = CompactModel(CompactConfig())
    chosen = WorldModelWeights(0.5, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0)
    inverse = inverse_heads(model, chosen)
    terms = world_model_loss(model, inverse, make_dataset(), 4, chosen, np.random.default_rng(1))
    expected = (
        terms['rollout'] + 0.5 * terms['one_step'] + 2 * terms['variance']
        + 3 * terms['covariance'] + 5 * terms['smoothness'] + 7 * terms['inverse_dynamics']
        + 11 * terms['displacement'] + 13 * terms['reconstruction']
    )  # fmt: skip
    assert terms['total'].item() == pytest.approx(expected.item())
    terms['total'].backward()
    for trained in (model.encoder, model.predictor, model.decoder, *inverse):
        assert all(parameter.grad.abs().sum() > 0 for parameter in trained.parameters())


def test_each_image_is_of_its_own_world():
    worlds = [TwoRooms(door_centre=20.0), TwoRooms(door_centre=40.0)]
    data = motion.collect_layouts(worlds, 3, 10, 0, 0.5)
    dataset = MotionDataset(worlds, data, 0.5)
    assert (dataset.episodes, dataset.episodes_each) == (6, 3)
    images = dataset.images(np.array([2, 3]), np.array([4, 4]))
    for image, world, episode in zip(images, worlds, (2, 3), strict=True):
        expected = world.render(data.positions[episode, 4][None])[0]
        assert torch.equal(image, torch.from_numpy(expected).permute(2, 0, 1) / 255)
        assert world.is_free(data.positions[episode] / 0.05).all()


def test_random_pairs_of_the_head_are_of_one_world():
    """Latents of two worlds so far apart that a mixed pair would need no more separation."""

    class Recorder(CompactModel):
        def time_to_reach(self, latents, goal):
            pairs.append((latents, goal))
            return super().time_to_reach(latents, goal)

    pairs = []
    latents = EpisodeLatents.of(torch.cat([torch.zeros(3, 11, 32), torch.ones(3, 11, 32)]))
    model = Recorder(CompactConfig())
    reach_loss(model, torch.zeros(()), latents, 64, np.random.default_rng(0), layouts=2)
    for source, target in pairs:
        assert torch.equal(source, target)
    assert {float(source.mean()) for source in pairs[1][0]} == {0.0, 1.0}


def test_the_denoiser_tells_what_is_off_the_manifold():
    """Latents on a circle: what lies far off it is told from what lies on it."""
    torch.manual_seed(0)
    model = CompactModel(CompactConfig(latent_dim=2, manifold_hidden=64))
    angle = torch.linspace(0, 6.28, 400)
    latents = 3 * torch.stack([angle.cos(), angle.sin()], dim=-1)
    recorded = EpisodeLatents.of(latents[None])
    optimiser = torch.optim.Adam(model.denoiser.parameters(), lr=3e-3)
    for step in range(600):
        optimiser.zero_grad()
        denoiser_loss(model, recorded, 256, np.random.default_rng(step))['total'].backward()
        optimiser.step()
    calibrate_manifold(model, recorded, np.random.default_rng(0))
    assert (model.off_manifold(latents) > 1).float().mean() < 0.03
    assert (model.off_manifold(0.6 * latents) > 1).all()
    assert (model.off_manifold(1.4 * latents) > 1).all()
