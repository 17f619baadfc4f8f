"""One round of on-policy data: what happens where a policy that trusts the model drives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import trange

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.planning.baselines.greedy import GreedyConfig, GreedyPlanner
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.sim.motion import MotionData, correlated_velocities
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, paint_robots, sample_free

EXPLORING = 0.2
"""Fraction of the steps in which a robot moves at random."""


@torch.no_grad()
def drive(
    model: CompactModel,
    worlds: Sequence[WalledWorld],
    episodes_each: int,
    length: int,
    seed: int,
    action_std: float,
) -> MotionData:
    """Let robots drive greedily on the learned time to reach, with random motion in between.

    Args:
        model: with a trained head.
        worlds: where; start and goal are uniform over the free floor.
        episodes_each: episodes in each world.
        length: actions of an episode.
        seed: of all randomness.
        action_std: the model's actions are in units of it, m/s.
    """
    rng = np.random.default_rng([seed, 20263])
    episodes, limit = len(worlds) * episodes_each, worlds[0].max_speed
    backgrounds = np.stack([world.background() for world in worlds]).repeat(episodes_each, axis=0)

    def free() -> NDArray[np.float64]:
        return METRES_PER_PIXEL * np.concatenate(
            [sample_free(world, episodes_each, rng) for world in worlds]
        )

    def encode(positions: NDArray[np.float64]) -> Tensor:
        pictures = paint_robots(backgrounds.copy(), positions, worlds[0].robot_radius)
        return model.embed(torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255))

    goal, positions = encode(free()), [free()]
    bound = torch.full((model.action_dim,), limit / action_std)
    planner = GreedyPlanner(model, GreedyConfig(goal_distance='time_to_reach', choices=32))
    generator = torch.Generator().manual_seed(seed)
    random = correlated_velocities(episodes, length, limit, rng)
    exploring = correlated_velocities(episodes, length, 1.0, rng)[..., 0] > 1 - 2 * EXPLORING
    actions = []
    for step in trange(length, desc='driving', unit='step'):
        problem = PlanProblem(
            context=encode(positions[-1])[:, None],
            past_actions=goal.new_zeros(episodes, 0, model.action_dim),
            goal=goal,
            action_low=-bound,
            action_high=bound,
            stop_action=torch.zeros_like(bound),
            horizon=1,
        )
        greedy = planner.plan(problem, generator=generator).actions[:, 0].double().numpy()
        taken = np.where(exploring[:, step, None], random[:, step], greedy * action_std)
        moved = [
            world.advance(
                positions[-1][index * episodes_each : (index + 1) * episodes_each],
                taken[index * episodes_each : (index + 1) * episodes_each],
                world.control_period,
            )
            for index, world in enumerate(worlds)
        ]
        actions.append(taken)
        positions.append(np.concatenate(moved))
    return MotionData(np.stack(positions, axis=1), np.stack(actions, axis=1), len(worlds))
