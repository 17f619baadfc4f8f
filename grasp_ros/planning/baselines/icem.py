"""iCEM: sample-efficient CEM with coloured noise and a memory of elites.

Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning", CoRL 2020,
arXiv 2008.06389. Its elites of the previous solve are here the shifted previous plan, which is
what a Planner is given of the past.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.planning.options import changed, option
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import (
    SamplingOptions,
    SamplingPlanner,
    Search,
    draw,
    merge,
    select,
)


@dataclass(frozen=True)
class IcemConfig(SamplingOptions):
    """Hyper-parameters; their defaults are iCEM's common ones, the paper tunes beta by task."""

    samples: int = changed(SamplingOptions, 'samples', 128)
    rounds: int = changed(SamplingOptions, 'rounds', 3)
    noise_beta: float = changed(SamplingOptions, 'noise_beta', 2.5)
    elites: int = option(10, 'best samples of a round that the next one follows', 1, 100000)
    kept_elites: float = option(0.3, 'share of the elites that the next round keeps', 0, 1)
    momentum: float = option(
        0.1, 'weight of the old mean and deviation beside those of the elites', 0, 1
    )
    decay: float = option(1.25, 'factor by which the samples decrease each round', 1, 100)


class IcemPlanner(SamplingPlanner[IcemConfig]):
    """iCEM behind the Planner protocol."""

    def _draw(
        self, problem: PlanProblem, search: Search, generator: torch.Generator
    ) -> Tensor:
        """Fewer samples in each round; the last round tries the mean, too."""
        config = self.config
        count = max(round(config.samples / config.decay**search.rounds), 2 * config.elites)
        samples = draw(
            problem, search.mean, search.deviation, count, config.noise_beta, generator
        )
        if search.rounds == config.rounds - 1:
            samples[:, 0] = search.mean
        return samples

    def _refit(self, search: Search, samples: Tensor, cost: Tensor) -> Search:
        config = self.config
        kept = max(1, round(config.kept_elites * config.elites))
        carried = search.elites.best(kept if config.kept_elites or not search.rounds else 0)
        elites = merge(select(samples, cost, config.elites), carried, config.elites)
        old, new = config.momentum, 1 - config.momentum
        return search.refitted(
            old * search.mean + new * elites.mean,
            old * search.deviation + new * elites.deviation,
            elites,
        )
