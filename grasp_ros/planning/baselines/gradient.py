"""GD: Adam on the actions through the serial rollout, from several starts side by side.

The gradient-based baseline of arXiv 2602.00475 and of DINO-WM (arXiv 2411.04983).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.base import Deadline, InitialGuessPlanner
from grasp_ros.planning.candidates import Candidates, tile
from grasp_ros.planning.initial_guess import InitialGuessOptions, repeat_to_count
from grasp_ros.planning.objective import rollout_cost
from grasp_ros.planning.options import option
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import draw, initial_deviation, roll_out


@dataclass(frozen=True)
class GradientConfig(InitialGuessOptions):
    """Hyper-parameters."""

    iterations: int = option(100, 'gradient steps of a solve', 0, 100000)
    starts: int = option(
        8, 'solved side by side: the best initial guesses, then noisy copies of them', 1, 1024
    )
    rate: float = option(0.05, 'Adam learning rate of the normalised actions', 0, 10)
    start_deviation: float = option(
        0.5, 'standard deviation of that noise, in half widths of the action box', 0, 10
    )


class GradientPlanner(InitialGuessPlanner[GradientConfig]):
    """GD behind the Planner protocol."""

    def _optimise(
        self,
        problem: PlanProblem,
        guesses: Candidates,
        generator: torch.Generator,
        deadline: Deadline,
    ) -> tuple[Candidates, int]:
        config = self.config
        if config.iterations == 0:
            return guesses.best(1), 0
        actions = self._starts(problem, guesses, generator).flatten(0, 1).contiguous()
        wide = tile(problem, config.starts)
        goal = wide.goal[:, None]
        best, lowest = actions.clone(), actions.new_full((len(actions),), float('inf'))
        optimiser = torch.optim.Adam([actions], lr=config.rate, fused=True)
        done = 0
        while done < config.iterations and deadline.allows_round():
            with torch.enable_grad():
                variable = actions.detach().requires_grad_()
                states = rollout(self.model, wide.context, wide.past_actions, variable)
                cost = rollout_cost(self.distance(states, goal), config.path_weight)
                (gradient,) = torch.autograd.grad(cost.sum(), [variable])
            better = cost.detach() < lowest
            lowest = torch.where(better, cost.detach(), lowest)
            best = torch.where(better[:, None, None], actions, best)
            actions.grad = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).contiguous()
            optimiser.step()
            actions.clamp_(problem.action_low, problem.action_high)
            done += 1
        shape = (problem.batch, config.starts)
        ends = torch.cat([best.unflatten(0, shape), actions.unflatten(0, shape)], dim=1)
        return roll_out(self.distance, problem, ends, config.path_weight), done

    def _starts(
        self, problem: PlanProblem, guesses: Candidates, generator: torch.Generator
    ) -> Tensor:
        """Actions (B, starts, T, A)."""
        config = self.config
        starts = repeat_to_count(guesses, config.starts).actions.clone()
        deviation = initial_deviation(problem, config.start_deviation)
        for index in range(guesses.cost.shape[1], config.starts):
            starts[:, index] = draw(
                problem, starts[:, index], deviation, 1, 0.0, generator
            )[:, 0]
        return starts
