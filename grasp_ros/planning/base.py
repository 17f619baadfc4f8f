"""Frame of a solve: initial guesses, an optimiser within the deadline, the best of both."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from grasp_ros.models.protocol import WorldModel, rollout
from grasp_ros.planning.candidates import Candidates, concatenate, to_plan
from grasp_ros.planning.cuda_graphs import Executor, wait_for
from grasp_ros.planning.initial_guess import InitialGuessOptions, action_choices, initial_guesses
from grasp_ros.planning.objective import GoalDistance, goal_distance
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Execution

TIMED_ROLLOUTS = 5
SCORING_ROLLOUTS = 2.0
"""Time of the end of a solve, in rollouts of one candidate: there are some more of them."""

Options = TypeVar('Options', bound=InitialGuessOptions)


class Deadline:
    """Time at which a solve must come to its end."""

    def __init__(self, began: float, limit_s: float | None, reserve_s: float) -> None:
        """End a solve.

        Args:
            began: when it began, of time.perf_counter.
            limit_s: seconds that it may take; None for no limit.
            reserve_s: seconds that the final scoring takes.
        """
        self._limit_s = limit_s
        self._reserve_s = reserve_s
        self._began = began
        self._asked = time.perf_counter()
        self._longest_s = 0.0

    def passed(self) -> bool:
        """Return whether no time is left but for the final scoring."""
        if self._limit_s is None:
            return False
        return time.perf_counter() - self._began + self._reserve_s > self._limit_s

    def allows_round(self) -> bool:
        """Whether one more round fits, as long as the longest between two of these questions.

        The first round is allowed while any time is left.
        """
        if self._limit_s is None:
            return True
        now = time.perf_counter()
        self._longest_s = max(self._longest_s, now - self._asked)
        self._asked = now
        return now - self._began + self._reserve_s + self._longest_s <= self._limit_s


class InitialGuessPlanner(ABC, Generic[Options]):
    """Base of planners that improve on initial guesses; see the Planner protocol."""

    def __init__(
        self, model: WorldModel, config: Options, executor: Executor | None = None
    ) -> None:
        """Plan with `model`; everything runs eagerly unless an executor is given.

        Raises:
            ValueError: if the configured goal distance needs a head that the model has not.
        """
        self.model = model
        self.config = config
        self.distance: GoalDistance = goal_distance(model, config.goal_distance)
        self.executor = executor or Executor()
        self._choices: Tensor | None = None
        self._rollout_step_s = 0.0

    @property
    def execution(self) -> Execution:
        """Execution of the solves, after `prepare`."""
        return self.executor.execution

    def prepare(self, problem: PlanProblem) -> None:
        """Compute the greedy rollout's choices, capture, time the rollout that ends a solve."""
        if self.config.seed_greedy:
            self._choices = action_choices(problem, self.config.greedy_choices)
        if self.executor.can_record:
            with self.executor.recording():
                generator = torch.Generator(self.model.device).manual_seed(0)
                cold = self.plan(problem, generator=generator)
                self.plan(problem, cold, generator=generator)
        actions = problem.stop_action.expand(problem.batch, problem.horizon, -1)
        times = []
        with torch.no_grad():
            for _ in range(TIMED_ROLLOUTS):
                began = time.perf_counter()
                rolled = self._rollout(problem, actions)
                self.distance(rolled, problem.goal[:, None]).sum().item()
                times.append(time.perf_counter() - began)
        self._rollout_step_s = statistics.median(times) / problem.horizon

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """Solve B problems; see the Planner protocol."""
        began = time.perf_counter()
        if self.config.seed_greedy and self._choices is None:
            self.prepare(problem)
        guesses = initial_guesses(
            self.distance, problem, init, self.config, self._choices, generator, self.executor
        )
        reserve_s = SCORING_ROLLOUTS * self._rollout_step_s * problem.horizon
        deadline = Deadline(began, deadline_s, reserve_s)
        candidates, iterations = guesses, 0
        if deadline_s is not None:
            wait_for(self.model.device)
        if not deadline.passed():
            found, iterations = self._optimise(problem, guesses, generator, deadline)
            candidates = concatenate(guesses.best(1), found)
        best = self._choose(problem, candidates)
        plan = to_plan(self.distance, problem, best, iterations, 0.0)
        wait_for(self.model.device)
        return replace(plan, solve_time_s=time.perf_counter() - began)

    def _rollout(self, problem: PlanProblem, actions: Tensor) -> Tensor:
        """Serial rollout (N, T, *Z) of actions (N, T, A), without gradients."""

        @torch.no_grad()
        def roll(context: Tensor, past_actions: Tensor, actions: Tensor) -> tuple[Tensor]:
            return (rollout(self.model, context, past_actions, actions),)

        return self.executor('rollout', roll, problem.context, problem.past_actions, actions)[0]

    def _choose(self, problem: PlanProblem, candidates: Candidates) -> Candidates:
        """Choose the plans (B, 1) among the candidates (B, C) at the end."""
        return candidates.best(1)

    @abstractmethod
    def _optimise(
        self,
        problem: PlanProblem,
        guesses: Candidates,
        generator: torch.Generator,
        deadline: Deadline,
    ) -> tuple[Candidates, int]:
        """Candidates (B, K) found from the guesses (B, C), and how many iterations were made."""
