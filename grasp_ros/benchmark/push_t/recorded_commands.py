"""What a model imagines of the commands that really led to the goal: a test of the model alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from grasp_ros.benchmark.push_t.push_t_cells import Subject, episode_of
from grasp_ros.models.protocol import rollout
from grasp_ros.planning.problem import to_tensor
from grasp_ros.sim.push_t.world import succeeded


@torch.no_grad()
def imagined_share(subject: Subject, seeds: Sequence[int], horizon: int) -> float:
    """Share of episodes whose recorded commands end within the criterion in imagination.

    Args:
        subject: the model.
        seeds: of the episodes.
        horizon: model steps to their goals.
    """
    model, space = subject.model, subject.space
    episodes = [episode_of(seed, horizon) for seed in seeds]
    latents = subject.encode([subject.look(episode.start) for episode in episodes])
    commands = np.stack([episode.commands for episode in episodes])
    shaped = commands.reshape(len(episodes), horizon, space.frame_skip, space.size)
    # Before the start the robot stands, as when an episode begins.
    before = np.zeros((len(episodes), model.history - 1, *shaped.shape[2:]))
    ends = rollout(
        model,
        torch.stack([latents] * model.history, dim=1),
        to_tensor(space.normalise(before), latents),
        to_tensor(space.normalise(shaped), latents),
    )[:, -1]
    goals = np.stack([episode.goal for episode in episodes])
    return round(float(succeeded(subject.pose(ends), goals).mean()), 4)
