"""Initial guesses of a solve: the warm start, the greedy rollout, proposals.

The cold start is that of arXiv 2602.00475: states on the line to the goal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grasp_ros.planning.candidates import Candidates, concatenate, score
from grasp_ros.planning.cuda_graphs import Executor, tensors_of, with_tensors
from grasp_ros.planning.objective import GoalDistance, fill_unobserved
from grasp_ros.planning.options import DistanceOptions, option
from grasp_ros.planning.problem import Plan, PlanProblem


def shift(plan: Plan, steps: int, stop: Tensor) -> Plan:
    """Warm start: drop the executed actions and fill the horizon with the stop action.

    Args:
        plan: the previous plan; actions (B, T, A), states (B, T, *Z).
        steps: model steps executed since it was made, 0 <= steps.
        stop: the normalised stop action (A,).

    Returns:
        A plan of the same shapes; with steps >= T, all stop. The last state is held.

    Raises:
        ValueError: if steps is negative.
    """
    if steps < 0:
        raise ValueError(f'steps must not be negative, is {steps}')
    steps = min(steps, plan.horizon)
    if steps == 0:
        return plan
    return replace(
        plan,
        actions=torch.cat([plan.actions[:, steps:], _filled(plan, steps, stop)], dim=1),
        states=_advance(plan.states, steps),
        rollout=_advance(plan.rollout, steps),
    )


def resize(plan: Plan, horizon: int, stop: Tensor) -> Plan:
    """Cut a plan to `horizon` model steps, or extend it with the stop action.

    Args:
        plan: actions (B, T, A), states (B, T, *Z).
        horizon: the new T, at least 1.
        stop: the normalised stop action (A,).
    """
    missing = horizon - plan.horizon
    if missing <= 0:
        return replace(
            plan,
            actions=plan.actions[:, :horizon],
            states=plan.states[:, :horizon],
            rollout=plan.rollout[:, :horizon],
        )
    held = [tensor[:, -1:].expand(-1, missing, *tensor.shape[2:]) for tensor in
            (plan.states, plan.rollout)]
    return replace(
        plan,
        actions=torch.cat([plan.actions, _filled(plan, missing, stop)], dim=1),
        states=torch.cat([plan.states, held[0]], dim=1),
        rollout=torch.cat([plan.rollout, held[1]], dim=1),
    )


def cold_start(problem: PlanProblem) -> tuple[Tensor, Tensor]:
    """Start without a previous plan, as in arXiv 2602.00475.

    Returns:
        States on the line from s_0 to the goal (B, T, *Z), the last one the goal, and stop
        actions (B, T, A).
    """
    present, goal = problem.context[:, -1:], problem.goal[:, None]
    fraction = torch.linspace(0, 1, problem.horizon + 1, dtype=goal.dtype, device=goal.device)[1:]
    fraction = fraction.reshape(1, -1, *[1] * (goal.dim() - 2))
    states = present + fraction * (goal - present)
    actions = problem.stop_action.expand(problem.batch, problem.horizon, -1)
    return states, actions.clone()


def _filled(plan: Plan, steps: int, stop: Tensor) -> Tensor:
    return stop.expand(plan.actions.shape[0], steps, -1)


def _advance(states: Tensor, steps: int) -> Tensor:
    held = states[:, -1:].expand(-1, steps, *states.shape[2:])
    return torch.cat([states[:, steps:], held], dim=1)


@dataclass(frozen=True)
class InitialGuessOptions(DistanceOptions):
    """Initial guesses of a solve, and how rollouts are scored."""

    path_weight: float = option(
        1.0, 'weight of the mean goal distance in the score of rollouts', 0, 1e6
    )
    seed_warm_start: bool = option(True, 'start a candidate from the shifted previous plan')
    seed_greedy: bool = option(False, 'start a candidate from the greedy rollout')
    greedy_choices: int = option(16, 'actions that the greedy rollout chooses among', 1, 100000)
    proposals: int = option(
        0, 'correlated random rollouts to start candidates from; 0 for none', 0, 100000
    )


def initial_guesses(
    distance: GoalDistance,
    problem: PlanProblem,
    init: Plan | None,
    options: InitialGuessOptions,
    choices: Tensor | None,
    generator: torch.Generator,
    executor: Executor | None = None,
) -> Candidates:
    """Initial guesses (B, C) of a solve, scored by their serial rollouts.

    The states of a warm start are those of the previous plan; those of a start from nothing
    lie on the line to the goal; all others are rollouts.

    Args:
        distance: goal distance; its model predicts.
        problem: B problems.
        init: the previous plan, shifted to now, or None.
        options: which guesses.
        choices: (M, A) actions of the greedy rollout; not used without `seed_greedy`.
        generator: of the proposals.
        executor: runs the rollouts; None runs them eagerly.
    """
    given: list[Tensor] = []
    lifted: list[Tensor] = []
    if init is not None and options.seed_warm_start:
        given.append(init.actions[:, None])
        lifted.append(init.states[:, None])
    elif not (options.seed_greedy or options.proposals):
        goal = fill_unobserved(distance.model, problem.goal, problem.context[:, -1])
        states, actions = cold_start(replace(problem, goal=goal))
        given.append(actions[:, None])
        lifted.append(states[:, None])
    if options.proposals:
        given.append(correlated_actions(problem, options.proposals, generator))
    asked: dict[str, Tensor] = {}
    if options.seed_greedy and choices is not None:
        asked['choices'] = choices
    if given:
        asked['actions'] = torch.cat(given, dim=1)
    inputs = tensors_of(problem)

    def roll(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        own = with_tensors(problem, tensors[: len(inputs)])
        named = dict(zip(asked, tensors[len(inputs) :], strict=True))
        return guess_rollouts(distance, own, **named)

    key = ('initial guesses', *asked, problem.horizon, problem.frame_skip)
    actions, rolled = (executor or Executor())(key, roll, *inputs, *asked.values())
    states = rolled
    if lifted:
        at = int('choices' in asked)
        states = torch.cat([rolled[:, :at], *lifted, rolled[:, at + 1 :]], dim=1)
    return score(distance, problem, actions, states, rolled, options.path_weight)


def repeat_to_count(guesses: Candidates, count: int) -> Candidates:
    """The best `count` guesses of each problem, repeated in turn where there are fewer."""
    keep = guesses.best(count)
    missing = count - keep.cost.shape[1]
    if missing <= 0:
        return keep
    again = torch.arange(missing, device=keep.cost.device) % keep.cost.shape[1]
    return concatenate(keep, keep.take(again.expand(keep.cost.shape[0], -1)))


MIN_SEGMENT = 4
MAX_SEGMENT = 20


def correlated_actions(
    problem: PlanProblem, count: int, generator: torch.Generator
) -> Tensor:
    """Piecewise constant random commands, each held for 4 to 20 control periods.

    Args:
        problem: gives bounds, horizon T, commands in an action and the number of problems B.
        count: proposals P for each problem.
        generator: of the randomness.

    Returns:
        Normalised actions (B, P, T, A) inside the bounds.
    """
    low, high = _command_box(problem)
    periods = problem.horizon * problem.frame_skip
    rows, device, dtype = problem.batch * count, low.device, low.dtype
    segments = periods // MIN_SEGMENT + 1
    durations = torch.randint(
        MIN_SEGMENT,
        MAX_SEGMENT + 1,
        (rows, segments),
        generator=generator,
        device=device,
    )
    ends = durations.cumsum(dim=1)
    steps = torch.arange(periods, device=device)
    segment = torch.searchsorted(ends, steps.expand(rows, -1).contiguous(), right=True)
    shape = (rows, segments, low.shape[0])
    direction = torch.randn(shape, generator=generator, device=device, dtype=dtype)
    direction = direction / direction.abs().amax(dim=-1, keepdim=True)
    speed = torch.rand((*shape[:2], 1), generator=generator, device=device, dtype=dtype).sqrt()
    centre, half = (low + high) / 2, (high - low) / 2
    held = centre + half * direction * speed
    index = segment[..., None].expand(-1, -1, low.shape[0])
    commands = held.gather(1, index)
    return commands.reshape(problem.batch, count, problem.horizon, -1)


def action_choices(problem: PlanProblem, count: int) -> Tensor:
    """Evenly distributed actions (count + 1, A) to choose among: Sobol points and stop action.

    Half of the points are moved to the surface of the box, where fast motion is. All commands of
    an action are the same: that is how robots move, and leaves few dimensions to fill.
    """
    low, high = _command_box(problem)
    sobol = torch.quasirandom.SobolEngine(low.shape[0], scramble=True, seed=0)
    points = sobol.draw(count).to(low) * 2 - 1
    surface = points / points.abs().amax(dim=-1, keepdim=True).clamp(min=1e-6)
    points[::2] = surface[::2]
    commands = (low + high) / 2 + points * (high - low) / 2
    return torch.cat([problem.stop_action[None], commands.repeat(1, problem.frame_skip)])


def _command_box(problem: PlanProblem) -> tuple[Tensor, Tensor]:
    """Bounds (R,) of one command; those of all commands of an action are the same."""
    size = problem.action_low.shape[0] // problem.frame_skip
    return problem.action_low[:size], problem.action_high[:size]


@torch.no_grad()
def guess_rollouts(
    distance: GoalDistance,
    problem: PlanProblem,
    choices: Tensor | None = None,
    actions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Roll out given actions and the greedy policy together, one prediction a step.

    At each step the greedy rollout takes the choice whose prediction is nearest to the goal.

    Args:
        distance: goal distance; its model predicts.
        problem: B problems with horizon T.
        choices: (M, A) the greedy policy's choices, or None for no greedy rollout.
        actions: (B, P, T, A) to roll out as they are, or None.

    Returns:
        Actions (B, C, T, A) and states (B, C, T, *Z); the greedy rollout is the first of the C.
    """
    model, batch, horizon = distance.model, problem.batch, problem.horizon
    greedy = 0 if choices is None else len(choices)
    given = 0 if actions is None else actions.shape[1]
    rows = greedy + given
    frames = problem.context[:, None].expand(-1, rows, *problem.context.shape[1:])
    taken = problem.past_actions[:, None].expand(-1, rows, *problem.past_actions.shape[1:])
    tried = problem.context.new_empty(horizon, batch, rows, 1, model.action_dim)
    if choices is not None:
        tried[:, :, :greedy, 0] = choices
    if actions is not None:
        tried[:, :, greedy:, 0] = actions.permute(2, 0, 1, 3)
    goal = problem.goal[:, None]
    first_rows = rows * torch.arange(batch, device=goal.device)
    states, bests = [], []
    for now in tried.unbind(0):
        window = now if model.history == 1 else torch.cat([taken, now], dim=2)
        flat = model.predict(frames.flatten(0, 1), window.flatten(0, 1))
        following = flat.unflatten(0, (batch, rows))
        if choices is not None:
            best = distance(following[:, :greedy], goal).argmin(dim=1)
            bests.append(best)
            best = best + first_rows
            chosen = flat.index_select(0, best)[:, None].expand(-1, greedy, *goal.shape[2:])
            following = torch.cat([chosen, following[:, greedy:]], dim=1)
        states.append(following)
        if model.history == 1:
            frames = following[:, :, None]
            continue
        frames = torch.cat([frames[:, :, 1:], following[:, :, None]], dim=2)
        taken = window[:, :, 1:]
        if choices is not None:
            past = taken.flatten(0, 1).index_select(0, best)[:, None]
            taken = torch.cat([past.expand(-1, greedy, -1, -1), taken[:, greedy:]], dim=1)
    # All greedy rows have come to the same state; one of them is kept.
    kept = torch.stack(states, dim=2)[:, max(0, greedy - 1) :]
    if choices is None:
        return tried[:, :, :, 0].permute(1, 2, 0, 3), kept
    followed = choices[torch.stack(bests, dim=1)][:, None]
    rest = tried[:, :, greedy:, 0].permute(1, 2, 0, 3)
    return torch.cat([followed, rest], dim=1), kept
