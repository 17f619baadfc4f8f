"""Models, derivatives and distances on a GPU are those on a CPU."""

import copy

import pytest
import torch

from grasp_ros.benchmark.speed.iteration import random_problem
from grasp_ros.models.protocol import Observation, linearise, windows
from grasp_ros.planning.objective import goal_distance, lifted_gradients
from harness.tiny_models import TINY_MODELS

HORIZON = 4
# Single precision without TF32 on both; other orders of summation.
CLOSE = {'rtol': 1e-3, 'atol': 1e-4}
pytestmark = pytest.mark.gpu


@pytest.fixture(params=TINY_MODELS)
def both(request):
    """One model on the CPU and on the GPU."""
    torch.manual_seed(0)
    model = TINY_MODELS[request.param]().eval().requires_grad_(False)
    return model, copy.deepcopy(model).cuda()


def assert_same(found, expected):
    assert found.device.type == 'cuda'
    torch.testing.assert_close(found.cpu(), expected, **CLOSE)


def problems(both):
    """One problem for either, with virtual states and actions."""
    for model in both:
        problem = random_problem(model, 2, HORIZON, seed=0)
        states = problem.goal[:, None].expand(-1, HORIZON, *model.latent_shape).clone()
        actions = problem.action_high.expand(2, HORIZON, -1) / 2
        yield model, problem, states, actions


def test_predictions_and_their_derivatives(both):
    found = []
    for model, problem, states, actions in problems(both):
        latents, taken = windows(problem.context, states, problem.past_actions, actions)
        predicted, pull = linearise(model, latents.flatten(0, 1), taken.flatten(0, 1))
        found.append([predicted, *pull(torch.ones_like(predicted))])
    for on_cpu, on_gpu in zip(*found, strict=True):
        assert_same(on_gpu, on_cpu)


def test_the_lifted_loss_and_its_gradients(both):
    kinds = ['latent', *(['time_to_reach'] if hasattr(both[0], 'time_to_reach') else [])]
    for kind in kinds:
        on_cpu, on_gpu = (
            lifted_gradients(
                goal_distance(model, kind), problem, states, actions, goal_weight=0.5,
                stop_gradient=False,
            )
            for model, problem, states, actions in problems(both)
        )  # fmt: skip
        assert_same(on_gpu.loss, on_cpu.loss)
        assert_same(on_gpu.states, on_cpu.states)
        assert_same(on_gpu.actions, on_cpu.actions)


def test_pictures_are_encoded_alike(both):
    config = getattr(both[0], 'config', None)
    if config is None:
        pytest.skip('it sees nothing')
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 2, 3, config.image_size, config.image_size, generator=generator)
    proprioception = torch.randn(1, 2, config.proprioception, generator=generator)
    observation = Observation(images, proprioception if config.proprioception else None)
    assert_same(both[1].encode(observation), both[0].encode(observation))
