"""The predictor learns from frozen latents what it got wrong."""

import numpy as np
import torch

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.training.losses.latents import EpisodeLatents
from grasp_ros.training.losses.world_model import PREDICTOR_SPAN, LatentMotion, predictor_loss

STEP = 0.1


class Actions:
    """A dataset of which nothing is asked but its actions (E, L, 2)."""

    def __init__(self, values):
        self.values = torch.from_numpy(values).float()

    def actions(self, episodes, start, count):
        return self.values[episodes[:, None], start[:, None] + np.arange(count)]


def drift(episodes=8, length=40, seed=0):
    """Latents that each action moves: s' = s + STEP * (a, a)."""
    rng = np.random.default_rng(seed)
    actions = rng.normal(size=(episodes, length, 2))
    latents = np.concatenate([np.zeros((episodes, 1, 2)), STEP * actions.cumsum(axis=1)], axis=1)
    recorded = EpisodeLatents.of(torch.from_numpy(np.tile(latents, 2)).float())
    return LatentMotion(recorded, Actions(actions))


def model():
    torch.manual_seed(0)
    return CompactModel(CompactConfig(latent_dim=4, hidden=32))


def test_windows_hold_the_actions_between_their_latents():
    latents, actions = drift().windows(5, np.random.default_rng(0))
    assert latents.shape == (5, PREDICTOR_SPAN + 1, 4)
    assert actions.shape == (5, PREDICTOR_SPAN, 2)
    torch.testing.assert_close(latents[:, 1:, :2] - latents[:, :-1, :2], STEP * actions)


def test_training_on_it_makes_rollouts_exact():
    trained, source = model(), drift()
    optimiser = torch.optim.AdamW(trained.predictor.parameters(), lr=3e-3)
    losses = []
    for step in range(150):
        terms = predictor_loss(trained, [source], STEP**2, np.random.default_rng(step))
        optimiser.zero_grad()
        terms['total'].backward()
        optimiser.step()
        losses.append(terms['total'].item())
    assert losses[-1] < 0.2 * losses[0]


def test_only_the_predictor_has_gradients():
    trained = model()
    predictor_loss(trained, [drift(), drift(seed=1)], STEP**2, np.random.default_rng(0))[
        'total'
    ].backward()
    for name, weights in trained.named_parameters():
        assert (weights.grad is not None) == name.startswith('predictor.'), name
