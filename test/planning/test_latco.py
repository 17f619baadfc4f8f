"""LatCo: its linearisation, its banded systems, and plans without a defect."""

import pytest
import torch

from grasp_ros.planning.baselines.latco import Trajectory, linearise
from grasp_ros.planning.gauss_newton import solve_banded
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.registry import build
from harness.baselines import check, solve, turning_model
from harness.toy_models import SmoothModelWithHead, problem_for


@pytest.mark.parametrize(('count', 'width'), [(7, 1), (1, 1), (7, 3), (2, 3), (6, 2), (9, 2)])
def test_banded_systems_are_solved(count, width):
    size, rows = 3, 2
    generator = torch.Generator().manual_seed(0)
    dense = torch.zeros(rows, count * size, count * size, dtype=torch.float64)
    band = torch.zeros(rows, count, width + 1, size, size, dtype=torch.float64)
    for row in range(count):
        for offset in range(min(width + 1, count - row)):
            block = torch.randn(rows, size, size, generator=generator, dtype=torch.float64)
            if offset == 0:
                block = block @ block.mT + 20 * torch.eye(size)
            band[:, row, offset] = block
            down, across = row * size, (row + offset) * size
            dense[:, down : down + size, across : across + size] = block
            dense[:, across : across + size, down : down + size] = block.mT
    right = torch.randn(rows, count, size, generator=generator, dtype=torch.float64)
    expected = torch.linalg.solve(dense, right.flatten(1)).unflatten(1, (count, size))
    torch.testing.assert_close(solve_banded(band, right), expected)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize(('history', 'shape'), [(1, (4,)), (3, (2, 2)), (2, (3,))])
def test_latco_linearises_its_residuals(kind, history, shape):
    """Gradient and matrix against dense Jacobians of the residuals by autograd."""
    model = SmoothModelWithHead(history, shape, 2)
    distance = GoalDistance(model, kind)
    horizon = 5
    problem = problem_for(model, horizon)
    generator = torch.Generator().manual_seed(2)
    states = torch.randn((1, horizon, *shape), generator=generator, dtype=model.dtype)
    actions = 1.5 * torch.randn((1, horizon, 2), generator=generator, dtype=model.dtype)
    dynamics = torch.rand((1, horizon), generator=generator, dtype=model.dtype) + 0.5
    bounds = torch.rand((1, horizon), generator=generator, dtype=model.dtype) + 0.5
    state = Trajectory(states, actions, dynamics, bounds, torch.ones(1, dtype=model.dtype))
    weight = torch.rand(horizon, generator=generator, dtype=model.dtype)
    elements = states[0, 0].numel()
    block = elements + 2

    def residuals(flat):
        unknown = flat.reshape(horizon + 1, block)
        free = unknown[1:, :elements].reshape(horizon, *shape)
        taken = unknown[:-1, elements:]
        frames = torch.cat([problem.context[0], free])
        past = torch.cat([problem.past_actions[0], taken])
        parts = []
        for step in range(horizon):
            window = slice(step, step + history)
            predicted = model.predict(frames[window][None], past[window][None])[0]
            scale = (dynamics[0, step] / elements).sqrt()
            parts.append(scale * (free[step] - predicted).flatten())
            if kind == 'latent':
                gap = (free[step] - problem.goal[0]).flatten()
                parts.append((weight[step] / elements).sqrt() * gap)
            else:
                parts.append((weight[step] * distance(free[step], problem.goal[0])).sqrt()[None])
            parts.append(bounds[0, step].sqrt() * (taken[step] - taken[step].clamp(-1, 1)))
        return torch.cat(parts)

    start = torch.zeros(horizon + 1, block, dtype=model.dtype)
    start[1:, :elements], start[:-1, elements:] = states[0].flatten(1), actions[0]
    jacobian = torch.autograd.functional.jacobian(residuals, start.flatten())
    fixed = torch.zeros(horizon + 1, block, dtype=torch.bool)
    fixed[0, :elements], fixed[-1, elements:] = True, True
    jacobian[:, fixed.flatten()] = 0.0
    expected = jacobian.mT @ jacobian + torch.diag(fixed.flatten().double())
    slope = (jacobian.mT @ residuals(start.flatten())).reshape(horizon + 1, block)

    _, _, band, gradient = linearise(distance, problem, state, weight)
    torch.testing.assert_close(gradient[0], slope)
    blocks = expected.reshape(horizon + 1, block, horizon + 1, block).transpose(1, 2)
    for row in range(horizon + 1):
        for offset in range(min(history, horizon - row) + 1):
            torch.testing.assert_close(band[0, row, offset], blocks[row, row + offset])


@pytest.mark.parametrize('path_weight', [0.0, 1.0])
def test_latco_drives_the_defect_to_zero(path_weight):
    """On linear dynamics, from a straight line that the model cannot follow."""
    model = turning_model()
    problem = problem_for(model, 20, batch=3)
    plan = solve('latco', model, problem, path_weight=path_weight, tolerance=1e-8, iterations=80)
    check(plan, model, problem)
    assert plan.defect.max() < 2e-4
    torch.testing.assert_close(plan.states, plan.rollout, atol=2e-3, rtol=0)


def test_latco_refuses_latents_that_are_too_large():
    with pytest.raises(ValueError, match='LatCo'):
        build('latco', SmoothModelWithHead(1, (196, 8), 2))
