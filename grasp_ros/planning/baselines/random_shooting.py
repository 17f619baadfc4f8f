"""Random shooting: the best of correlated random action sequences, without an optimiser."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from grasp_ros.planning.base import Deadline, InitialGuessPlanner
from grasp_ros.planning.candidates import Candidates
from grasp_ros.planning.initial_guess import InitialGuessOptions
from grasp_ros.planning.options import changed
from grasp_ros.planning.problem import PlanProblem


@dataclass(frozen=True)
class RandomShootingConfig(InitialGuessOptions):
    """Settings: the proposals are the plans."""

    proposals: int = changed(InitialGuessOptions, 'proposals', 256)


class RandomShootingPlanner(InitialGuessPlanner[RandomShootingConfig]):
    """Takes the best initial guess; one batch of rollouts, which a deadline does not cut."""

    def _optimise(
        self,
        problem: PlanProblem,
        guesses: Candidates,
        generator: torch.Generator,
        deadline: Deadline,
    ) -> tuple[Candidates, int]:
        return guesses.best(1), 0
