"""The toy problem: dynamics that are known exactly, and what every planner makes of them."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from grasp_ros.benchmark import toy_image
from grasp_ros.benchmark.toy_image import BallModel, BallWorld, ball_problem
from grasp_ros.models.protocol import Observation, WorldModel, rollout
from grasp_ros.planning.registry import PLANNERS, build

OPTIONS = {
    'gradient': {'iterations': 60, 'starts': 4},
    'icem': {'rounds': 10},
    'random_shooting': {'proposals': 2048},
}


@pytest.fixture
def model():
    return BallModel(dtype=torch.float64)


def step(model, position, action):
    position = torch.tensor(position, dtype=model.dtype)
    return model.predict(position[None, None], torch.tensor([[action]], dtype=model.dtype))[0]


def test_it_is_a_world_model(model):
    assert isinstance(model, WorldModel)
    seen = Observation(torch.zeros(1, 2, 3, 4, 4), torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]))
    assert model.encode(seen).shape == (1, 2, 2)
    assert model.encode(seen).dtype == model.dtype
    with pytest.raises(ValueError, match='proprioception'):
        model.encode(Observation(torch.zeros(1, 1, 3, 4, 4)))


def test_the_ball_moves_freely_far_from_obstacles(model):
    free = BallModel(BallWorld(obstacles=()), dtype=torch.float64)
    expected = torch.tensor([-0.75, 0.82]).double()
    torch.testing.assert_close(step(free, [-0.8, 0.9], [0.5, -0.8]), expected)
    torch.testing.assert_close(step(model, [-0.8, 0.9], [0.5, -0.8]), expected)


def test_no_step_ends_inside_an_obstacle(model):
    generator = torch.Generator().manual_seed(0)
    positions = 2 * torch.rand((2000, 1, 2), generator=generator, dtype=model.dtype) - 1
    actions = 2 * torch.rand((2000, 1, 2), generator=generator, dtype=model.dtype) - 1
    assert model.clearance(model.predict(positions, actions)).min() > -1e-9
    assert model.clearance(positions).min() < -0.2


def test_the_push_is_along_the_radius_and_smooth(model):
    x, y, radius = model.world.obstacles[0]
    before = torch.tensor([[x - radius, y]], dtype=model.dtype)
    stop = torch.zeros((1, 1, 2), dtype=model.dtype)
    after = model.predict(before[None], stop)[0]
    assert after[1] == pytest.approx(y)
    # softplus(0) = ln 2
    assert float(before[0, 0] - after[0]) == pytest.approx(model.world.softness * 0.6931, abs=1e-6)
    action = stop.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: model.predict(before[None], given), [action])


def test_straight_ahead_does_not_lead_to_the_goal(model):
    problem = ball_problem(model)
    line = (problem.goal - problem.context[:, -1]) / problem.horizon / model.world.speed
    actions = line[:, None].expand(-1, problem.horizon, -1)
    states = rollout(model, problem.context, problem.past_actions, actions)
    assert (states[0, -1] - problem.goal[0]).norm() > 0.1


@pytest.mark.parametrize('name', PLANNERS)
def test_every_planner_leads_the_ball_around(model, name):
    problem = ball_problem(model)
    planner = build(name, model, OPTIONS.get(name))
    plan = planner.plan(problem, generator=torch.Generator().manual_seed(0))
    assert model.clearance(plan.rollout).min() > -1e-9
    end = float((plan.rollout[0, -1] - problem.goal[0]).norm())
    assert end < (0.3 if name == 'random_shooting' else 0.2), end


def test_grasp_as_published_closes_the_gaps():
    model = BallModel()
    problem = ball_problem(model)
    seen = toy_image.watch_solve(model, problem)
    assert [snapshot.iteration for snapshot in seen] == list(
        range(toy_image.CONFIG.iterations + 1)
    )
    assert model.clearance(seen[0].states).min() < -0.05, 'the line crosses obstacles'
    assert model.clearance(seen[-1].states).min() > -1e-6
    assert seen[-1].gap_m < 0.05 < seen[0].gap_m
    assert (seen[-1].rollout[-1] - problem.goal[0]).norm() < 0.1


def test_the_image_is_written(tmp_path):
    config = replace(toy_image.CONFIG, iterations=2)
    file = tmp_path / 'new' / 'virtual_states.png'
    toy_image.main(['--output', str(file), '--seed', '3'], config)
    image = Image.open(file)
    assert image.width == 3 * toy_image.SIZE
    colours = {colour for _, colour in image.convert('RGB').getcolors(10**6)}
    drawn = (toy_image.STATE, toy_image.OBSTACLE, toy_image.GOAL, toy_image.PREDICTION)
    assert colours.issuperset(drawn)
