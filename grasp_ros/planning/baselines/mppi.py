"""MPPI: a plan moves by noise, weighted with the exponential of the noisy plans' costs.

Williams et al., "Information Theoretic MPC for Model-Based Reinforcement Learning", ICRA 2017,
algorithm 2, with several rounds on one problem. Not through pytorch_mppi: its batched class (0.9.1)
takes one state vector without history or goal per problem, the same noise for all problems, and
its randomness from torch's global generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.planning.options import option
from grasp_ros.planning.sampling import SamplingOptions, SamplingPlanner, Search


@dataclass(frozen=True)
class MppiConfig(SamplingOptions):
    """Hyper-parameters.

    The temperature is lambda of the paper in standard deviations of the samples' costs, so that
    one setting serves goal distances of any unit.
    """

    temperature: float = option(
        0.1, "lambda, in standard deviations of the samples' costs", 1e-6, 1e6
    )
    control_weight: float = option(
        0.0,
        'weight of the control cost that the derivation adds, in units of lambda; 1 as published,'
        ' 0 for the goal distance alone',
        0,
        1e6,
    )


class MppiPlanner(SamplingPlanner[MppiConfig]):
    """MPPI behind the Planner protocol; the deviation of the noise stays."""

    def _refit(self, search: Search, samples: Tensor, cost: Tensor) -> Search:
        config = self.config
        worst = torch.where(cost.isfinite(), cost, -float('inf')).amax(dim=1, keepdim=True)
        finite = torch.where(cost.isfinite(), cost, worst).nan_to_num(neginf=0.0)
        tiny = torch.finfo(cost.dtype).tiny
        scale = (config.temperature * finite.std(dim=1, keepdim=True)).clamp(min=tiny)
        mean = search.mean
        moves = samples - mean[:, None]
        excess = (finite - finite.amin(dim=1, keepdim=True)) / scale
        if config.control_weight:
            whitened = mean / search.deviation.square().clamp(min=tiny)
            excess = excess + config.control_weight * torch.einsum(
                'bta,bnta->bn', whitened, moves
            )
        weight = torch.softmax(torch.where(cost.isfinite(), -excess, -float('inf')), dim=1)
        return search.refitted(
            mean + torch.einsum('bn,bnta->bta', weight.nan_to_num(nan=0.0), moves)
        )
