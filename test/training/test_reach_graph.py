"""Labels of the time-to-reach head from graphs over latents, where the answers are known."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import dijkstra

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.training.losses.latents import EpisodeLatents
from grasp_ros.training.losses.time_to_reach import (
    STRIDE,
    ReachLabels,
    graph_reach_loss,
    median_step,
    neighbour_graph,
)


def line(*places):
    """Episodes (E, F, 2) of positions along the x axis; one step of motion is 1."""
    x = torch.tensor(places, dtype=torch.float32)
    return torch.stack([x, torch.zeros_like(x)], dim=-1)


def times(latents, source):
    graph = neighbour_graph(latents, one_step=0.5)
    return dijkstra(graph, directed=False, indices=source)


def test_times_add_up_along_neighbours():
    """One step of motion by 1 changes one of two numbers: mean squared difference 0.5."""
    latents = line([0.0, 2.0, 4.0], [6.0, 8.0, 10.0], [12.0, 14.0, 16.0])
    np.testing.assert_allclose(times(latents, 0), np.arange(9) * 2.0, rtol=1e-5)


def test_a_gap_is_not_crossed():
    latents = line([0.0, 2.0, 4.0], [10.0, 12.0, 14.0])
    found = times(latents, 0)
    np.testing.assert_allclose(found[:3], [0.0, 2.0, 4.0], rtol=1e-5)
    assert np.isinf(found[3:]).all()


def test_what_was_driven_takes_no_longer_than_it_did():
    """Between frames of an episode lies the stride, however far apart their latents are."""
    latents = line([0.0, 100.0, 200.0])
    assert times(latents, 0).tolist() == [0.0, STRIDE, 2 * STRIDE]


def test_the_loss_is_zero_where_the_head_is_right():
    model = CompactModel(CompactConfig(latent_dim=2))
    latents = torch.randn(1, 6, 2)
    with torch.no_grad():
        steps = model.time_to_reach(latents[:, :1, None], latents[:, None])
    symmetric = (steps + steps) / 2
    labels = ReachLabels(latents, torch.zeros(1, 1, dtype=torch.int64), symmetric)
    unknown = ReachLabels(latents, labels.landmarks, torch.full_like(symmetric, torch.inf))
    unknown.steps[..., 0] = 0.0
    far = ReachLabels(latents, labels.landmarks, symmetric + 50.0)

    def loss(given):
        return graph_reach_loss(model, given, 64, np.random.default_rng(0))['total'].item()

    assert loss(unknown) == pytest.approx(0.0, abs=1e-6), 'what is not connected does not count'
    assert 1.0 < loss(far) < 2.5


def test_a_head_learns_its_labels():
    torch.manual_seed(0)
    model = CompactModel(CompactConfig(latent_dim=2))
    latents = torch.rand(3, 40, 2) * 4
    landmarks = torch.arange(8).expand(3, -1)
    steps = torch.cdist(latents[:, :8], latents, p=float('inf'))
    labels = ReachLabels(latents, landmarks, steps)
    optimiser = torch.optim.Adam(model.reach_embedding.parameters(), lr=3e-3)
    losses = []
    for step in range(300):
        optimiser.zero_grad()
        loss = graph_reach_loss(model, labels, 128, np.random.default_rng(step))['total']
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_one_step_is_that_of_fast_motion():
    latents = EpisodeLatents.of(torch.tensor([[[0.0], [1.0], [1.0], [4.0]]]))
    fractions = np.array([[0.9, 0.0], [0.0, 0.1], [0.0, -1.0], [0.0, 0.0]])
    assert median_step(latents, fractions) == pytest.approx(1.0)
    with pytest.raises(ValueError, match='hardly moves'):
        median_step(latents, 0.1 * fractions)
