"""LatCo: collocation in latent space, with gradients into the states and growing multipliers.

Rybkin et al., "Model-Based Reinforcement Learning via Latent-Space Collocation", ICML 2021,
arXiv 2106.13229: states and actions are optimised together by Levenberg-Marquardt steps on goal
cost, dynamics violations and violations of the action bounds, and the multipliers of violated
constraints grow. First multipliers, their growth, damping and number of steps are ours: they were
chosen on a few tuning episodes of two rooms and on the toy ball.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grasp_ros.models.protocol import WorldModel, predict_windows, rollout, visual, windows
from grasp_ros.planning.base import Deadline, InitialGuessPlanner
from grasp_ros.planning.candidates import Candidates, score, tile
from grasp_ros.planning.gauss_newton import solve_banded
from grasp_ros.planning.initial_guess import InitialGuessOptions, repeat_to_count
from grasp_ros.planning.objective import GoalDistance, squared_error
from grasp_ros.planning.options import option
from grasp_ros.planning.problem import PlanProblem

MAX_BLOCK = 1024
MIN_DAMPING = 1e-8
MAX_MULTIPLIER = 1e9


@dataclass(frozen=True)
class LatcoConfig(InitialGuessOptions):
    """Hyper-parameters."""

    iterations: int = option(50, 'Levenberg-Marquardt steps of a solve', 0, 100000)
    candidates: int = option(1, 'solved side by side', 1, 1024)
    multiplier: float = option(1.0, 'first multiplier of the constraints', 0, 1e6)
    growth: float = option(
        0.2, 'a multiplier grows by (violation / tolerance) to this power each step', 0, 10
    )
    tolerance: float = option(
        1e-4, 'violation, mean squared, above which a multiplier grows', 1e-12, 1e6
    )
    damping: float = option(1e-3, 'first Levenberg-Marquardt damping', 1e-8, 1e6)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Variables that are optimised, and their constraints' multipliers.

    Attributes:
        states: s_1 .. s_T (R, T, *Z).
        actions: a_0 .. a_{T-1} (R, T, A), perhaps out of bounds.
        dynamics: multipliers of the dynamics (R, T).
        bounds: multipliers of the action bounds (R, T).
        damping: (R,).
    """

    states: Tensor
    actions: Tensor
    dynamics: Tensor
    bounds: Tensor
    damping: Tensor


class LatcoPlanner(InitialGuessPlanner[LatcoConfig]):
    """LatCo behind the Planner protocol, for latents small enough for exact normal equations."""

    def __init__(self, model: WorldModel, config: LatcoConfig) -> None:
        """Plan with `model`.

        Raises:
            ValueError: if the goal distance needs a head that the model has not, or if the
                latents are too large.
        """
        super().__init__(model, config)
        elements = torch.Size(model.latent_shape).numel()
        block = model.history * (elements + model.action_dim)
        if block > MAX_BLOCK:
            raise ValueError(
                f'LatCo factorises blocks of {block} x {block} here; more than {MAX_BLOCK} '
                'are too slow: use another planner with this model'
            )

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
        guesses = repeat_to_count(guesses, config.candidates)
        wide = tile(problem, config.candidates)
        actions = guesses.actions.flatten(0, 1)
        first = actions.new_full(actions.shape[:2], config.multiplier)
        damping = actions.new_full((len(actions),), config.damping)
        state = Trajectory(guesses.states.flatten(0, 1), actions, first, first, damping)
        done = 0
        while done < config.iterations and deadline.allows_round():
            state = self._step(wide, state)
            done += 1
        actions = state.actions.clamp(problem.action_low, problem.action_high)
        with torch.no_grad():
            rolled = rollout(self.model, wide.context, wide.past_actions, actions)
        shape = guesses.cost.shape
        found = score(
            self.distance,
            problem,
            actions.unflatten(0, shape),
            state.states.unflatten(0, shape),
            rolled.unflatten(0, shape),
            config.path_weight,
        )
        return found, done

    def _step(self, problem: PlanProblem, state: Trajectory) -> Trajectory:
        """One Levenberg-Marquardt step, taken where it helps, then growing multipliers."""
        weight = self._goal_weight(state)
        violation, excess, band, gradient = linearise(self.distance, problem, state, weight)
        before = self._merit(problem, state, violation, excess, weight)
        step = solve_banded(_damped(band, state.damping), -gradient)
        elements = state.states[0, 0].numel()
        trial = replace(
            state,
            states=state.states + step[:, 1:, :elements].to(state.states).view_as(state.states),
            actions=state.actions + step[:, :-1, elements:].to(state.actions),
        )
        with torch.no_grad():
            latents, taken = windows(
                problem.context, trial.states, problem.past_actions, trial.actions
            )
            predicted = predict_windows(self.model, latents, taken)
        dims = len(self.model.latent_shape)
        new_violation = squared_error(predicted, trial.states, dims)
        new_excess = _excess(problem, trial.actions)
        after = self._merit(problem, trial, new_violation, new_excess, weight)
        better = after < before
        lasting = better[:, None]
        violation = torch.where(lasting, new_violation, violation)
        out = torch.where(lasting, new_excess.square().mean(-1), excess.square().mean(-1))
        return Trajectory(
            states=torch.where(lasting.reshape(-1, *[1] * (1 + dims)), trial.states, state.states),
            actions=torch.where(lasting[..., None], trial.actions, state.actions),
            dynamics=self._grown(state.dynamics, violation),
            bounds=self._grown(state.bounds, out),
            damping=torch.where(better, state.damping / 4, state.damping * 4).clamp(
                MIN_DAMPING, 1 / MIN_DAMPING
            ),
        )

    def _goal_weight(self, state: Trajectory) -> Tensor:
        """Weights (T,) of the states' goal distances, which sum up to the rollouts' cost."""
        horizon = state.actions.shape[1]
        weight = state.actions.new_full((horizon,), self.config.path_weight / horizon)
        weight[-1] += 1.0
        return weight

    def _merit(
        self,
        problem: PlanProblem,
        state: Trajectory,
        violation: Tensor,
        excess: Tensor,
        weight: Tensor,
    ) -> Tensor:
        """Merit (R,), which a step must lower."""
        with torch.no_grad():
            goal = self.distance(state.states, problem.goal[:, None]) * weight
        held = state.dynamics * violation + state.bounds * excess.square().sum(-1)
        return (goal + held).sum(dim=1)

    def _grown(self, multiplier: Tensor, violation: Tensor) -> Tensor:
        factor = (violation / self.config.tolerance) ** self.config.growth
        return (multiplier * factor.nan_to_num(nan=1.0).clamp(min=1.0)).clamp(
            max=MAX_MULTIPLIER
        )


def linearise(
    distance: GoalDistance, problem: PlanProblem, state: Trajectory, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normal equations of the step, in float64.

    The unknowns of time t = 0 .. T are (s_t, a_t), D + A of them; s_0 and a_T do not move.

    Args:
        distance: goal distance; its model predicts.
        problem: R rows.
        state: where to linearise.
        weight: (T,) of the goal distances of s_1 .. s_T.

    Returns:
        Mean squared dynamics violation (R, T), excess of the actions over their bounds (R, T, A),
        the matrix as a band (R, T + 1, H + 1, D + A, D + A) and the gradient (R, T + 1, D + A).
    """
    model = distance.model
    rows, horizon, size = state.actions.shape
    history, dims = model.history, len(model.latent_shape)
    flat = state.states.flatten(-dims).double()
    elements = flat.shape[-1]
    predicted, of_latents, of_actions = _jacobians(model, problem, state)
    block = elements + size
    band = flat.new_zeros((rows, horizon + 1, history + 1, block, block))
    gradient = flat.new_zeros((rows, horizon + 1, block))

    residual = flat - predicted
    strength = (state.dynamics.double() / elements)[..., None, None]
    # Derivatives of s_{t+1} - F in the frames t - H + 1 .. t and in frame t + 1.
    jacobian = torch.cat([-of_latents, -of_actions], dim=-1)
    target = torch.cat(
        [torch.eye(elements, dtype=flat.dtype, device=flat.device),
         flat.new_zeros((elements, size))], dim=-1
    ).expand(rows, horizon, -1, -1)  # fmt: skip
    of_frames = [*jacobian.unbind(dim=2), target]
    for first, left in enumerate(of_frames):
        # Frames before the present one are given: `skip` predictions have them here.
        skip = max(0, history - 1 - first)
        if skip >= horizon:
            continue
        begin = max(0, first - (history - 1))
        span = slice(begin, begin + horizon - skip)
        weighted = (left * strength).mT
        gradient[:, span] += (weighted @ residual[..., None])[:, skip:, :, 0]
        for second in range(first, history + 1):
            block_pair = weighted @ of_frames[second]
            band[:, span, second - first] += block_pair[:, skip:]

    goal_gradient, goal_matrix = _goal_terms(distance, problem, state, weight)
    gradient[:, 1:, :elements] += goal_gradient
    band[:, 1:, 0, :elements, :elements] += goal_matrix

    excess = _excess(problem, state.actions)
    force = state.bounds.double()[..., None]
    gradient[:, :-1, elements:] += force * excess.double()
    held = torch.diag_embed(force * (excess != 0))
    band[:, :-1, 0, elements:, elements:] += held

    _fix(band, gradient, 0, slice(0, elements))
    _fix(band, gradient, horizon, slice(elements, block))
    return residual.square().mean(-1).to(state.states), excess, band, gradient


def _jacobians(
    model: WorldModel, problem: PlanProblem, state: Trajectory
) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions (R, T, D), and derivatives (R, T, H, D, D) and (R, T, H, D, A) in the inputs."""
    dims = len(model.latent_shape)
    with torch.enable_grad():
        latents, taken = windows(
            problem.context, state.states, problem.past_actions, state.actions
        )
        latents = latents.detach().requires_grad_()
        taken = taken.detach().requires_grad_()
        predicted = predict_windows(model, latents, taken).flatten(-dims)
        elements = predicted.shape[-1]
        each = torch.eye(elements, dtype=predicted.dtype, device=predicted.device)
        each = each[:, None, None].expand(-1, *predicted.shape)
        of_latents, of_actions = torch.autograd.grad(
            predicted, [latents, taken], grad_outputs=each, is_grads_batched=True
        )
    return (
        predicted.detach().double(),
        of_latents.flatten(-dims).permute(1, 2, 3, 0, 4).double(),
        of_actions.permute(1, 2, 3, 0, 4).double(),
    )


def _goal_terms(
    distance: GoalDistance, problem: PlanProblem, state: Trajectory, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Half the gradient (R, T, D) and Gauss-Newton matrix (R, T, D, D) of the goal distances.

    A learned distance is the square of its root, which is the residual.
    """
    dims = len(distance.model.latent_shape)
    flat = state.states.flatten(-dims)
    if distance.kind == 'latent':
        gap = flat - problem.goal.flatten(-dims)[:, None]
        observed = torch.zeros(distance.model.latent_shape, dtype=torch.float64, device=flat.device)
        visual(distance.model, observed).fill_(1.0)
        share = weight.double()[:, None] * observed.flatten() / observed.sum()
        matrix = torch.diag_embed(share).expand(len(flat), -1, -1, -1)
        return share * gap.double(), matrix
    with torch.enable_grad():
        variable = state.states.detach().requires_grad_()
        value = distance(variable, problem.goal[:, None])
        (slope,) = torch.autograd.grad(value.sum(), [variable])
    slope = slope.flatten(-dims).double()
    share = weight.double()[:, None]
    scale = 4 * value.detach().double().clamp(min=1e-3)[..., None, None]
    matrix = share[..., None] * slope[..., None] * slope[..., None, :] / scale
    return share * slope / 2, matrix


def _excess(problem: PlanProblem, actions: Tensor) -> Tensor:
    return actions - actions.clamp(problem.action_low, problem.action_high)


def _fix(band: Tensor, gradient: Tensor, time: int, which: slice) -> None:
    """Take the unknowns `which` of `time` out of the equations."""
    history = band.shape[2] - 1
    for offset in range(history + 1):
        band[:, time, offset, which] = 0.0
        if time - offset >= 0:
            band[:, time - offset, offset, :, which] = 0.0
    gradient[:, time, which] = 0.0
    band[:, time, 0].diagonal(dim1=-2, dim2=-1)[:, which] = 1.0


def _damped(band: Tensor, damping: Tensor) -> Tensor:
    """The matrix with its diagonal enlarged (Marquardt)."""
    band = band.clone()
    diagonal = band[:, :, 0].diagonal(dim1=-2, dim2=-1)
    diagonal += damping[:, None, None] * diagonal + MIN_DAMPING
    return band
