"""Random shooting: the best of correlated random action sequences, without an optimiser."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from grasp_ros.planning.base import Deadline, SeededPlanner
from grasp_ros.planning.candidates import Candidates
from grasp_ros.planning.initial_guess import SeedOptions
from grasp_ros.planning.options import changed
from grasp_ros.planning.problem import PlanProblem


@dataclass(frozen=True)
class RandomShootingConfig(SeedOptions):
    """Settings: the proposals are the plans."""

    proposals: int = changed(SeedOptions, 'proposals', 256)


class RandomShootingPlanner(SeededPlanner[RandomShootingConfig]):
    """Takes the best seed; one batch of rollouts, which a deadline does not cut."""

    def _optimise(
        self,
        problem: PlanProblem,
        seeds: Candidates,
        generator: torch.Generator,
        clock: Deadline,
    ) -> tuple[Candidates, int]:
        return seeds.best(1), 0
