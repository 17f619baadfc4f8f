"""Planners that draw action sequences: their rounds, noise, costs of rollouts, elites."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.base import Deadline, InitialGuessPlanner
from grasp_ros.planning.candidates import Candidates, score, tile
from grasp_ros.planning.initial_guess import InitialGuessOptions
from grasp_ros.planning.objective import GoalDistance, rollout_cost
from grasp_ros.planning.options import option
from grasp_ros.planning.problem import PlanProblem


@dataclass(frozen=True)
class SamplingOptions(InitialGuessOptions):
    """Number and distribution of the action sequences that are drawn."""

    samples: int = option(300, 'action sequences drawn in a round', 2, 1000000)
    rounds: int = option(10, 'rounds of a solve', 0, 100000)
    initial_deviation: float = option(
        0.5, 'standard deviation of the first samples, in half widths of the action box', 0, 10
    )
    noise_beta: float = option(
        0.0, 'samples have the spectrum 1 / f^beta in time: 0 white, 2 a random walk', 0, 10
    )
    max_rows_per_call: int = option(
        0, 'chunk predictions to bound memory; 0 for one call', 0, 10**9
    )


def coloured_noise(
    like: Tensor, count: int, beta: float, generator: torch.Generator
) -> Tensor:
    """Gaussian noise with the power spectrum 1 / f^beta over time and unit variance.

    The spectrum is drawn and transformed back (Timmer & Koenig, Astronomy and Astrophysics 300,
    1995; for planning: Pinneri et al., arXiv 2008.06389). Frequency 0 has the power of the lowest
    other one.

    Args:
        like: (B, T, A), gives shape, dtype and device.
        count: N.
        beta: exponent.
        generator: of the randomness.

    Returns:
        (B, N, T, A).
    """
    batch, horizon, size = like.shape
    frequency = torch.fft.rfftfreq(horizon, device=like.device, dtype=like.dtype)
    amplitude = frequency.clamp(min=1.0 / horizon) ** (-beta / 2)
    shape = (2, batch, count, size, len(frequency))
    real, imaginary = torch.randn(
        shape, generator=generator, device=like.device, dtype=like.dtype
    )
    # The frequencies 0 and T / 2 have no imaginary part, and all variance in the real one.
    lonely = torch.zeros_like(frequency, dtype=torch.bool)
    lonely[0] = True
    lonely[-1] = horizon % 2 == 0 or horizon == 1
    real = torch.where(lonely, real * 2**0.5, real) * amplitude
    imaginary = torch.where(lonely, torch.zeros_like(imaginary), imaginary) * amplitude
    power = torch.where(lonely, 2.0, 4.0) * amplitude.square()
    noise = torch.fft.irfft(torch.complex(real, imaginary), n=horizon, dim=-1)
    return (noise * (horizon / power.sum().sqrt())).transpose(-1, -2)


def draw(
    problem: PlanProblem,
    mean: Tensor,
    deviation: Tensor,
    count: int,
    beta: float,
    generator: torch.Generator,
) -> Tensor:
    """Action sequences (B, N, T, A) around `mean` (B, T, A), clamped to the bounds."""
    noise = coloured_noise(mean, count, beta, generator)
    drawn = mean[:, None] + deviation[:, None] * noise
    return drawn.clamp(problem.action_low, problem.action_high)


def initial_deviation(problem: PlanProblem, half_widths: float) -> Tensor:
    """Standard deviation (B, T, A) of so many half widths of the action box."""
    half = (problem.action_high - problem.action_low) / 2
    return (half_widths * half).expand(problem.batch, problem.horizon, -1)


@torch.no_grad()
def sample_costs(
    distance: GoalDistance,
    problem: PlanProblem,
    actions: Tensor,
    path_weight: float,
    max_rows: int = 0,
) -> Tensor:
    """Costs (B, N) of action sequences (B, N, T, A); the states are not kept, NaN is infinite.

    Args:
        distance: goal distance; its model predicts.
        problem: B problems.
        actions: (B, N, T, A).
        path_weight: as in `rollout_cost`.
        max_rows: predict about so many rows at once; 0 for all.
    """
    batch, count, horizon = actions.shape[:3]
    chunk = max(1, max_rows // batch) if max_rows else count
    goal, history = problem.goal[:, None], problem.context.shape[1]
    costs = []
    for part in actions.split(chunk, dim=1):
        wide = tile(problem, part.shape[1])
        frames = wide.context
        taken = torch.cat([wide.past_actions, part.flatten(0, 1)], dim=1)
        along = []
        for step in range(horizon):
            following = distance.model.predict(frames, taken[:, step : step + history])
            along.append(distance(following.unflatten(0, part.shape[:2]), goal))
            frames = torch.cat([frames[:, 1:], following.unsqueeze(1)], dim=1)
        costs.append(rollout_cost(torch.stack(along, dim=-1), path_weight))
    return torch.nan_to_num(torch.cat(costs, dim=1), nan=float('inf'))


@torch.no_grad()
def roll_out(
    distance: GoalDistance, problem: PlanProblem, actions: Tensor, path_weight: float
) -> Candidates:
    """Action sequences (B, C, T, A) as candidates whose states are their serial rollouts."""
    wide = tile(problem, actions.shape[1])
    states = rollout(
        distance.model, wide.context, wide.past_actions, actions.flatten(0, 1)
    ).unflatten(0, actions.shape[:2])
    return score(distance, problem, actions, states, states, path_weight)


@dataclass(frozen=True, eq=False)
class Elites:
    """The best samples of a round, cheapest first.

    Attributes:
        actions: (B, K, T, A).
        cost: (B, K).
    """

    actions: Tensor
    cost: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean (B, T, A)."""
        return self.actions.mean(dim=1)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation (B, T, A)."""
        return self.actions.std(dim=1, correction=0)

    def best(self, count: int) -> Elites:
        """The `count` cheapest."""
        return Elites(self.actions[:, :count], self.cost[:, :count])


def select(actions: Tensor, cost: Tensor, count: int) -> Elites:
    """The `count` cheapest of samples (B, N, T, A) with costs (B, N)."""
    cheapest, index = cost.topk(min(count, cost.shape[1]), dim=1, largest=False, sorted=True)
    index = index[..., None, None].expand(-1, -1, *actions.shape[2:])
    return Elites(actions.gather(1, index), cheapest)


def merge(first: Elites, second: Elites, count: int) -> Elites:
    """The `count` cheapest of both."""
    return select(
        torch.cat([first.actions, second.actions], dim=1),
        torch.cat([first.cost, second.cost], dim=1),
        count,
    )


@dataclass(frozen=True, eq=False)
class Search:
    """Gaussian that a round draws from, and what earlier rounds leave to it.

    Attributes:
        rounds: made so far.
        mean: of the Gaussian (B, T, A).
        deviation: its standard deviation (B, T, A).
        tried: action sequences (B, G, T, A) to try beside the drawn ones.
        elites: the best ones known.
    """

    rounds: int
    mean: Tensor
    deviation: Tensor
    tried: Tensor
    elites: Elites

    def refitted(
        self, mean: Tensor, deviation: Tensor | None = None, elites: Elites | None = None
    ) -> Search:
        """The next round's search, which tries the new mean; what is not given stays."""
        return replace(
            self,
            rounds=self.rounds + 1,
            mean=mean,
            deviation=self.deviation if deviation is None else deviation,
            tried=mean[:, None],
            elites=self.elites if elites is None else elites,
        )


Sampling = TypeVar('Sampling', bound=SamplingOptions)


class SamplingPlanner(InitialGuessPlanner[Sampling]):
    """Rounds of drawing action sequences, rolling them out, and refitting a Gaussian to the best.

    The best sequence of all rounds and the last mean are the candidates for the plan.
    """

    def _optimise(
        self,
        problem: PlanProblem,
        guesses: Candidates,
        generator: torch.Generator,
        deadline: Deadline,
    ) -> tuple[Candidates, int]:
        config = self.config
        known = select(
            guesses.actions, guesses.cost.nan_to_num(nan=float('inf')), guesses.cost.shape[1]
        )
        best = known.best(1)
        deviation = initial_deviation(problem, config.initial_deviation)
        search = Search(0, best.mean, deviation, guesses.actions, known)
        while search.rounds < config.rounds and deadline.allows_round():
            samples = self._draw(problem, search, generator)
            cost = sample_costs(
                self.distance, problem, samples, config.path_weight, config.max_rows_per_call
            )
            best = merge(best, select(samples, cost, 1), 1)
            search = self._refit(search, samples, cost)
        ends = torch.cat([best.actions, search.mean[:, None]], dim=1)
        return roll_out(self.distance, problem, ends, config.path_weight), search.rounds

    def _draw(
        self, problem: PlanProblem, search: Search, generator: torch.Generator
    ) -> Tensor:
        """Samples (B, N, T, A) of a round, those to be tried first."""
        config = self.config
        drawn = draw(
            problem, search.mean, search.deviation, config.samples, config.noise_beta, generator
        )
        return torch.cat([search.tried, drawn], dim=1)[:, : config.samples]

    @abstractmethod
    def _refit(self, search: Search, samples: Tensor, cost: Tensor) -> Search:
        """The search after a round of samples (B, N, T, A) with costs (B, N)."""
