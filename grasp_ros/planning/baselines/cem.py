"""CEM: draw action sequences, fit a Gaussian to the best, and again.

Cross-entropy method (Rubinstein & Kroese 2004) with diagonal covariance as planners of world models
use it: 300 samples, 30 elites, 10 to 30 rounds (DINO-WM, arXiv 2411.04983). `noise_beta` colours
the samples as iCEM does (arXiv 2008.06389).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from grasp_ros.planning.base import Deadline, SeededPlanner
from grasp_ros.planning.candidates import Candidates
from grasp_ros.planning.options import option
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import (
    Elites,
    SamplingOptions,
    draw,
    initial_deviation,
    merge,
    roll_out,
    sample_costs,
    select,
)


@dataclass(frozen=True)
class CemConfig(SamplingOptions):
    """Hyper-parameters."""

    elites: int = option(30, 'best samples of a round that the next one follows', 1, 100000)


class CemPlanner(SeededPlanner[CemConfig]):
    """CEM behind the Planner protocol; the seeds are samples of the first round."""

    def _optimise(
        self,
        problem: PlanProblem,
        seeds: Candidates,
        generator: torch.Generator,
        clock: Deadline,
    ) -> tuple[Candidates, int]:
        config = self.config
        best = select(seeds.actions, seeds.cost.nan_to_num(nan=float('inf')), 1)
        mean = best.mean
        deviation = initial_deviation(problem, config.initial_deviation)
        given = seeds.actions
        done = 0
        while done < config.rounds and clock.allows_round():
            drawn = draw(
                problem, mean, deviation, config.samples, config.noise_beta, generator
            )
            elites = self._elites(problem, torch.cat([given, drawn], dim=1)[:, : config.samples])
            best = merge(best, elites, 1)
            mean, deviation = elites.mean, elites.deviation
            given = mean[:, None]
            done += 1
        ends = torch.cat([best.actions, mean[:, None]], dim=1)
        return roll_out(self.distance, problem, ends, config.path_weight), done

    def _elites(self, problem: PlanProblem, samples: torch.Tensor) -> Elites:
        config = self.config
        cost = sample_costs(
            self.distance, problem, samples, config.path_weight, config.max_rows_per_call
        )
        return select(samples, cost, config.elites)
