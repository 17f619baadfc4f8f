"""Planners as solvers of stable-worldmodel: the library's own models, policy and environments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from grasp_ros.integrations.stable_worldmodel import GraspSolver, PlannerSolver
from grasp_ros.integrations.stable_worldmodel_models import AdaptedModel, library_model
from grasp_ros.models.protocol import Observation, WorldModel
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.registry import PLANNERS
from harness.library_stand_ins import stand_ins
from harness.stable_worldmodel import (
    BLOCK,
    NO_SEARCH,
    PIXELS,
    SCALER,
    AlternateDisplacement,
    Centroid,
    Displacement,
    Point,
    configured,
    for_candidates,
    librarys_costs,
    observed,
    patch_model,
    picture,
    point_model,
    spots,
    vector_model,
)
from harness.toy_models import ToyModel

gymnasium = pytest.importorskip('gymnasium')
with stand_ins():
    swm = pytest.importorskip('stable_worldmodel')
    from stable_worldmodel.policy import WorldModelPolicy
    from stable_worldmodel.solver import Solver
    from stable_worldmodel.wm.pldm import PLDM


def test_it_keeps_the_protocol():
    solver = configured(GraspSolver(point_model()), horizon=7, n_envs=3)
    assert isinstance(solver, Solver)
    assert (solver.horizon, solver.n_envs, solver.action_dim) == (7, 3, 2 * BLOCK)


@pytest.mark.parametrize('warm_start', [True, False])
def test_the_librarys_world_arrives_everywhere(warm_start):
    """Real policy, wrappers and evaluation; pictures in, normalised blocks of actions out."""
    config = swm.PlanConfig(
        horizon=5, receding_horizon=2, action_block=BLOCK, warm_start=warm_start
    )
    solver = GraspSolver(point_model(), action_scaler=SCALER)
    world = swm.World('grasp_ros/Point-v0', 3, (PIXELS, PIXELS), max_episode_steps=16)
    world.set_policy(WorldModelPolicy(solver, config, process={'action': SCALER}))
    results = world.evaluate(episodes=6, seed=0)
    assert results['success_rate'] == 100.0


@pytest.mark.parametrize('planner', PLANNERS)
def test_any_planner_plans_and_the_model_agrees_on_the_cost(planner):
    model, info = vector_model(), observed(2)
    solver = configured(PlannerSolver(model, planner))
    found = solver.solve(info)
    assert found['actions'].shape == (2, 5, 2 * BLOCK)
    assert found['actions'].abs().max() <= 1
    cost = librarys_costs(model, info, found['actions'])
    torch.testing.assert_close(6 * torch.tensor(found['costs']), cost)


def test_a_pldm_agrees_on_the_cost():
    model, info = vector_model(PLDM), observed(3)
    found = configured(GraspSolver(model)).solve(info)
    cost = librarys_costs(model, info, found['actions'])
    torch.testing.assert_close(6 * torch.tensor(found['costs']), cost)


def test_a_prejepa_agrees_on_its_end():
    """With an action embedding in the midst of the latent, and two other senses around it."""
    model, info = patch_model(), observed(3)
    found = configured(GraspSolver(model)).solve(info)
    told = for_candidates(info)
    model.get_cost(told, found['actions'][:, None])
    end = told['predicted_embedding'][:, 0, -1]
    end = torch.cat([end[..., : 5 + 3], end[..., 5 + 3 + 2 :]], dim=-1)
    cost = (end - told['goal_emb'][:, 0, 0]).square().mean(dim=(1, 2))
    torch.testing.assert_close(torch.tensor(found['costs']), cost)


def test_earlier_frames_count_with_the_actions_between_them():
    model, info = vector_model(), observed(2, frames=3)
    past, action = torch.rand(2, 2, 2 * BLOCK), torch.rand(2, 1, 2 * BLOCK)
    solver = configured(GraspSolver(model, NO_SEARCH), horizon=1)

    def expected(frames, actions):
        latents = model.encode({'pixels': frames})['emb']
        end = model.predict(latents, model.action_encoder(actions))[:, -1]
        goal = model.encode({'pixels': info['goal']})['emb'][:, -1]
        return (end - goal).square().mean(dim=-1)

    alone = solver.solve(info, action)
    torch.testing.assert_close(
        torch.tensor(alone['costs']), expected(info['pixels'][:, -1:], action)
    )
    together = solver.solve(info | {'action_history': past}, action)
    torch.testing.assert_close(
        torch.tensor(together['costs']),
        expected(info['pixels'], torch.cat([past, action], dim=1)),
    )


@pytest.mark.parametrize('make', [vector_model, patch_model])
def test_an_adapted_model_predicts_rows_with_any_number_of_frames_at_once(make):
    info = observed(6, frames=3)
    library = library_model(make())
    latents = library.embed(info).detach()
    shape = tuple(latents.shape[2:])
    model = AdaptedModel(library, shape, 2 * BLOCK, torch.device('cpu'), torch.float32)
    assert isinstance(model, WorldModel)
    actions = torch.rand(6, 3, 2 * BLOCK)
    unseen = [1, 0, 2, 0, 1, 2]
    for row, count in enumerate(unseen):
        latents[row, :count] = float('nan')
    alone = [
        library.step(latents[row : row + 1, count:], actions[row : row + 1, count:])
        for row, count in enumerate(unseen)
    ]
    torch.testing.assert_close(model.predict(latents, actions), torch.cat(alone))


def test_an_adapted_model_encodes_observations():
    info, model = observed(2), patch_model()
    del model.extra_encoders['force']
    library = library_model(model)
    adapted = AdaptedModel(library, (4, 8), 2 * BLOCK, torch.device('cpu'), torch.float32)
    latents = adapted.encode(Observation(info['pixels'], info['proprio']))
    assert torch.equal(latents, library.embed(info))
    assert not latents.requires_grad


def test_a_warm_start_is_where_planning_starts():
    solver = configured(GraspSolver(vector_model(), NO_SEARCH))
    given = torch.rand(2, 3, 2 * BLOCK)
    found = solver.solve(observed(2), given)['actions']
    assert torch.equal(found[:, :3], given)
    assert torch.equal(found[:, 3:], torch.zeros(2, 2, 2 * BLOCK))


def test_the_policy_continues_its_plan():
    """Without a search, a replan can only repeat what the policy kept of the previous plan."""
    config = swm.PlanConfig(horizon=4, receding_horizon=1, action_block=BLOCK)
    solver = GraspSolver(point_model())
    policy = WorldModelPolicy(solver, config)
    envs = SimpleNamespace(
        num_envs=1,
        single_action_space=Point.action_space,
        action_space=gymnasium.vector.utils.batch_space(Point.action_space, 1),
    )
    policy.set_env(envs)
    info = {name: value.numpy() for name, value in spots([(0.3, 0.3)], [(0.5, 0.6)]).items()}
    first = solver.solve(spots([(0.3, 0.3)], [(0.5, 0.6)]))['actions']

    repeating = configured(GraspSolver(point_model(), NO_SEARCH), horizon=4, n_envs=1)
    plans = iter([first])
    policy.solver = lambda info, init_action: (
        {'actions': next(plans)} if init_action is None else repeating.solve(info, init_action)
    )
    taken = [policy.get_action(dict(info))[0] for _ in range(4 * BLOCK)]
    np.testing.assert_allclose(np.stack(taken), first.reshape(-1, 2).numpy())


def test_commands_of_a_block_are_executed_in_order_within_their_bounds():
    """The goal is out of reach, so that what moves at all moves as fast as it may."""
    solver = GraspSolver(
        point_model(AlternateDisplacement()),
        {
            'iterations': 100, 'action_rate': 0.1, 'seed_greedy': False, 'proposals': 0,
            'sync_every': 6,
        },
    )
    config = swm.PlanConfig(horizon=2, receding_horizon=1, action_block=BLOCK)
    single = gymnasium.spaces.Box(np.float32([-1, -3]), np.float32([2, 3]))
    envs = SimpleNamespace(
        num_envs=1,
        single_action_space=single,
        action_space=gymnasium.vector.utils.batch_space(single, 1),
    )
    policy = WorldModelPolicy(solver, config)
    policy.set_env(envs)
    info = {name: value.numpy() for name, value in spots([(0.3, 0.3)], [(0.9, 0.9)]).items()}
    taken = [policy.get_action(dict(info))[0] for _ in range(BLOCK)]
    np.testing.assert_allclose(taken, [[2, 0], [0, 3]])


class PointToy(ToyModel):
    """What `point_model` does, written for our own planners."""

    dtype = torch.float32
    action_dim = 2 * BLOCK

    def predict(self, latents, actions):
        return latents[:, -1] + Displacement()(actions[:, -1])


def test_it_is_the_planner_that_is_called_directly():
    starts, goals = [(0.3, 0.4), (0.6, 0.5)], [(0.6, 0.6), (0.4, 0.3)]
    solver = configured(GraspSolver(point_model(), action_scaler=SCALER, seed=3))
    found = solver.solve(spots(starts, goals))

    low = torch.tensor(SCALER.transform(np.float32([[-1, -1]]))[0]).float().repeat(BLOCK)
    high = torch.tensor(SCALER.transform(np.float32([[1, 1]]))[0]).float().repeat(BLOCK)
    where = [
        Centroid()(torch.from_numpy(np.stack([picture(p) for p in places])).float(), True)
        for places in (starts, goals)
    ]
    problem = PlanProblem(
        context=where[0].last_hidden_state.detach(),
        past_actions=torch.zeros(2, 0, 2 * BLOCK),
        goal=where[1].last_hidden_state[:, 0].detach(),
        action_low=low,
        action_high=high,
        stop_action=torch.zeros_like(low),
        horizon=5,
    )
    planner = GraspPlanner(PointToy(), GraspConfig())
    plan = planner.plan(problem, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found['actions'], plan.actions)
    torch.testing.assert_close(torch.tensor(found['costs']), plan.terminal_cost)


def test_the_same_seed_gives_the_same_plans():
    def plans(seed):
        solver = configured(GraspSolver(vector_model(), seed=seed))
        return torch.stack([solver.solve(observed(2))['actions'] for _ in range(2)])

    first = plans(0)
    assert torch.equal(first, plans(0))
    assert not torch.equal(first, plans(1))


def test_some_of_the_environments_are_enough():
    solver = configured(GraspSolver(point_model()), n_envs=3)
    assert solver.solve(spots([(0.3, 0.4)], [(0.6, 0.6)]))['actions'].shape[0] == 1


def test_it_plans_until_the_deadline():
    solver = configured(GraspSolver(vector_model(), {'iterations': 10**5}, deadline_s=0.05))
    assert solver.solve(observed(2))['iterations'] < 10**5


def test_it_says_what_it_cannot_plan_with():
    with pytest.raises(ValueError, match='Linear: a model must have encode, predict'):
        GraspSolver(nn.Linear(1, 1))
    with pytest.raises(ValueError, match='no planner'):
        PlannerSolver(point_model(), 'no such')
    with pytest.raises(TypeError, match='no_such'):
        GraspSolver(point_model(), {'no_such': 1})
    with pytest.raises(ValueError, match=r'model\.eval'):
        configured(GraspSolver(point_model().train()))
    with pytest.raises(ValueError, match='must be bounded'):
        configured(GraspSolver(point_model()), high=(1, np.inf))
    config = swm.PlanConfig(horizon=5, receding_horizon=1)
    with pytest.raises(ValueError, match='must be continuous'):
        GraspSolver(point_model()).configure(
            action_space=gymnasium.spaces.MultiDiscrete([3, 3]), n_envs=2, config=config
        )
    solver = configured(GraspSolver(point_model()))
    seen = spots([(0.3, 0.4)], [(0.6, 0.6)])
    with pytest.raises(ValueError, match="'goal'"):
        solver.solve({'pixels': seen['pixels']})
    with pytest.raises(ValueError, match=r'must be \(1, up to 5, 4\), is \(2, 3, 4\)'):
        solver.solve(seen, torch.zeros(2, 3, 4))
