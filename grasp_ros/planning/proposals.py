"""Global seeds for a local planner: a greedy rollout and temporally correlated proposals.

Local planners do not find detours on their own; rollouts of these actions show them where to go.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import PlanProblem

SHORTEST_SEGMENT = 4
LONGEST_SEGMENT = 20


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
    segments = periods // SHORTEST_SEGMENT + 1
    durations = torch.randint(
        SHORTEST_SEGMENT,
        LONGEST_SEGMENT + 1,
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
    """Evenly spread actions (count + 1, A) to choose among: Sobol points and the stop action.

    Half of the points are moved to the surface of the box, where fast motion is. All commands of
    an action are the same: that is how robots move, and leaves few dimensions to spread over.
    """
    low, high = _command_box(problem)
    sobol = torch.quasirandom.SobolEngine(low.shape[0], scramble=True, seed=0)
    points = sobol.draw(count).to(low) * 2 - 1
    surface = points / points.abs().amax(dim=-1, keepdim=True).clamp(min=1e-6)
    points[::2] = surface[::2]
    spread = (low + high) / 2 + points * (high - low) / 2
    return torch.cat([problem.stop_action[None], spread.repeat(1, problem.frame_skip)])


def _command_box(problem: PlanProblem) -> tuple[Tensor, Tensor]:
    """Bounds (R,) of one command; those of all commands of an action are the same."""
    size = problem.action_low.shape[0] // problem.frame_skip
    return problem.action_low[:size], problem.action_high[:size]


@torch.no_grad()
def seed_rollouts(
    distance: GoalDistance, problem: PlanProblem, choices: Tensor | None, actions: Tensor | None
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
