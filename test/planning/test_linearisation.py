"""Hand-written derivatives and kernels of the compact model equal autograd's and PyTorch's."""

import pytest
import torch

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.models.protocol import HasLinearisation, HasTimeToReachGradient, linearise
from grasp_ros.planning.objective import goal_distance, gradient_by_autograd

EXACT = {'rtol': 1e-9, 'atol': 1e-12}
SINGLE = {'rtol': 1e-4, 'atol': 1e-5}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CompactModel(CompactConfig()).requires_grad_(False)


def normal(model, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(model.dtype)


class WithoutLinearisation:
    """Hides what a model can do beyond the protocol."""

    def __init__(self, model):
        self.predict = model.predict


@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(torch.float64, EXACT), (torch.float32, SINGLE)]
)
@pytest.mark.parametrize('rows', [1, 3, 60])
def test_the_predictor_is_linearised_as_by_autograd(model, rows, dtype, tolerance):
    model.to(dtype)
    assert isinstance(model, HasLinearisation)
    latents, actions = normal(model, rows, 1, 32), normal(model, rows, 1, 2, seed=1)
    gradient = normal(model, rows, 32, seed=2)
    predicted, pullback = linearise(model, latents, actions)
    expected, reference = linearise(WithoutLinearisation(model), latents, actions)
    torch.testing.assert_close(predicted, expected, **tolerance)
    torch.testing.assert_close(predicted, model.predict(latents, actions), **tolerance)
    for found, wanted in zip(pullback(gradient), reference(gradient), strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted, **tolerance)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('rows', [1, 3, 60])
def test_a_distance_is_differentiated_as_by_autograd(model, kind, rows):
    model.double()
    assert isinstance(model, HasTimeToReachGradient)
    distance = goal_distance(model, kind)
    latents, goal = normal(model, 2, rows, 32), normal(model, 2, 1, 32, seed=1)
    found = distance.with_gradient(latents, goal)
    for mine, wanted in zip(found, gradient_by_autograd(distance, latents, goal), strict=True):
        torch.testing.assert_close(mine, wanted, **EXACT)
    torch.testing.assert_close(found[0], distance(latents, goal), **EXACT)


def test_forward_derivatives_are_right_even_without_backward_ones(model):
    """A kernel without derivatives would silently give zero."""
    latents, actions = normal(model, 60, 1, 32), normal(model, 60, 1, 2, seed=1)
    direction = torch.ones_like(actions)
    with torch.no_grad():
        _, tangent = torch.func.jvp(lambda a: model.predict(latents, a), (actions,), (direction,))
    moved = model.predict(latents, actions + 1e-2 * direction)
    expected = (moved - model.predict(latents, actions - 1e-2 * direction)) / 2e-2
    torch.testing.assert_close(tangent, expected, rtol=1e-2, atol=1e-3)
