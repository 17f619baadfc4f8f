"""The spread of a model's latents: a unit in which one setting serves every model."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.planning.problem import PlanProblem

SMALLEST = 1e-6


@torch.no_grad()
def spread_of(problem: PlanProblem, rollouts: Tensor) -> float:
    """Root-mean-square deviation of a latent's element in the neighbourhood of a solve.

    Args:
        problem: B problems, whose contexts (B, H, *Z) and goals (B, *Z) count.
        rollouts: of seeds (B, C, T, *Z).

    Returns:
        The deviation from each problem's mean latent, over all of them; one number, since it
        belongs to the model. Not finite where the rollouts are not.
    """
    seen = torch.cat(
        [problem.context, rollouts.flatten(1, 2), problem.goal[:, None]], dim=1
    ).flatten(2)
    deviation = (seen - seen.mean(dim=1, keepdim=True)).square().mean().sqrt()
    return float(deviation.clamp(min=SMALLEST))
