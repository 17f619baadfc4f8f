"""CEM: draw action sequences, fit a Gaussian to the best, and again.

Cross-entropy method (Rubinstein & Kroese 2004) with diagonal covariance as planners of world models
use it: 300 samples, 30 elites, 10 to 30 rounds (DINO-WM, arXiv 2411.04983). `noise_beta` colours
the samples as iCEM does (arXiv 2008.06389).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from grasp_ros.planning.options import option
from grasp_ros.planning.sampling import SamplingOptions, SamplingPlanner, Search, select


@dataclass(frozen=True)
class CemConfig(SamplingOptions):
    """Hyper-parameters."""

    elites: int = option(30, 'best samples of a round that the next one follows', 1, 100000)


class CemPlanner(SamplingPlanner[CemConfig]):
    """CEM behind the Planner protocol; the initial guesses are samples of the first round."""

    def _refit(self, search: Search, samples: Tensor, cost: Tensor) -> Search:
        elites = select(samples, cost, self.config.elites)
        return search.refitted(elites.mean, elites.deviation)
