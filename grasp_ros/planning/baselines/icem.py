"""iCEM: sample-efficient CEM with coloured noise and a memory of elites.

Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning", CoRL 2020,
arXiv 2008.06389. Its elites of the previous solve are here the shifted previous plan, which is
what a Planner is given of the past.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from grasp_ros.planning.base import Deadline, SeededPlanner
from grasp_ros.planning.candidates import Candidates
from grasp_ros.planning.options import changed, option
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import (
    SamplingOptions,
    draw,
    initial_deviation,
    merge,
    roll_out,
    sample_costs,
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


class IcemPlanner(SeededPlanner[IcemConfig]):
    """iCEM behind the Planner protocol."""

    def _optimise(
        self,
        problem: PlanProblem,
        seeds: Candidates,
        generator: torch.Generator,
        clock: Deadline,
    ) -> tuple[Candidates, int]:
        config = self.config
        elites = select(
            seeds.actions, seeds.cost.nan_to_num(nan=float('inf')), config.elites
        )
        best = elites.best(1)
        mean = best.mean
        deviation = initial_deviation(problem, config.initial_deviation)
        kept = max(1, round(config.kept_elites * config.elites))
        done = 0
        while done < config.rounds and clock.allows_round():
            count = max(round(config.samples / config.decay**done), 2 * config.elites)
            samples = draw(problem, mean, deviation, count, config.noise_beta, generator)
            if done == config.rounds - 1:
                samples[:, 0] = mean
            cost = sample_costs(
                self.distance, problem, samples, config.path_weight, config.max_rows_per_call
            )
            carried = elites.best(kept if config.kept_elites or not done else 0)
            elites = merge(select(samples, cost, config.elites), carried, config.elites)
            best = merge(best, elites, 1)
            mean = config.momentum * mean + (1 - config.momentum) * elites.mean
            deviation = config.momentum * deviation + (1 - config.momentum) * elites.deviation
            done += 1
        ends = torch.cat([best.actions, mean[:, None]], dim=1)
        return roll_out(self.distance, problem, ends, config.path_weight), done
