"""An image that explains virtual states: GRASP on a toy ball, at the start, noisy, converged.

The ball in the plane among round obstacles has known dynamics and its position is the latent, so
that planners can be tested and looked at without learning anything.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from grasp_ros.models.protocol import Observation, predict_windows, rollout, windows
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.problem import PlanProblem


@dataclass(frozen=True)
class BallWorld:
    """A world of about one metre around the origin.

    Attributes:
        obstacles: x, y and radius of each in metres.
        speed: metres that an action of length 1 moves the ball in one step.
        softness: depth in metres over which an obstacle's push grows.
    """

    obstacles: tuple[tuple[float, float, float], ...] = (
        (-0.3, 0.15, 0.22),
        (0.3, -0.25, 0.25),
    )
    speed: float = 0.1
    softness: float = 0.02


class BallModel:
    """The world's exact dynamics as a WorldModel; the latent is the position (2,) in metres."""

    latent_shape = (2,)
    action_dim = 2
    history = 1

    def __init__(
        self,
        world: BallWorld | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = 'cpu',
    ) -> None:
        """Move balls in `world`, by default the one with two obstacles."""
        self.world = world or BallWorld()
        self.dtype = dtype
        self.device = torch.device(device)
        self._circles = torch.tensor(
            self.world.obstacles, dtype=dtype, device=self.device
        ).reshape(-1, 3)

    def encode(self, observation: Observation) -> Tensor:
        """Positions (B, K, 2), which are the proprioception.

        Raises:
            ValueError: if the observation has none.
        """
        if observation.proprioception is None:
            raise ValueError('the ball is not seen: its position must come as proprioception')
        return observation.proprioception.to(self.device, self.dtype)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Positions (N, 1, 2) and actions (N, 1, 2) to the next positions (N, 2).

        The ball moves, then every obstacle pushes it out, softly: along its radius by
        softplus of the depth.
        """
        moved = latents[:, -1] + self.world.speed * actions[:, -1]
        for circle in self._circles:
            offset = moved - circle[:2]
            distance = (offset.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()
            depth = (circle[2] - distance) / self.world.softness
            push = self.world.softness * functional.softplus(depth)
            moved = moved + push * offset / distance
        return moved

    def clearance(self, positions: Tensor) -> Tensor:
        """Distance in metres (...) of positions (..., 2) to the nearest obstacle, < 0 inside."""
        offset = positions[..., None, :] - self._circles[:, :2]
        return (offset.norm(dim=-1) - self._circles[:, 2]).amin(dim=-1)


def ball_problem(model: BallModel, horizon: int = 22) -> PlanProblem:
    """From the left of the obstacles to their right; the straight line crosses both."""
    like = torch.zeros((), dtype=model.dtype, device=model.device)
    limit = like.new_ones(2)
    return PlanProblem(
        context=like.new_tensor([[[-0.8, 0.3]]]),
        past_actions=like.new_zeros((1, 0, 2)),
        goal=like.new_tensor([[0.8, -0.3]]),
        action_low=-limit,
        action_high=limit,
        stop_action=torch.zeros_like(limit),
        horizon=horizon,
    )


# GRASP as published but for the rates, which fit a latent measured in metres: no greedy guess, no
# learned distance, so that the virtual states do the work.
CONFIG = GraspConfig(
    goal_distance='latent',
    iterations=400,
    candidates=1,
    state_rate=0.02,
    action_rate=0.02,
    state_noise=0.02,
    goal_weight=0.1,
    goal_weight_end=0.0,
    sync_every=50,
    sync_steps=10,
    path_weight=0.0,
    seed_greedy=False,
    proposals=0,
)
NOISY = 25

SIZE = 420
LINE = 20
FINER = 3
HALF_WIDTH_M, HALF_HEIGHT_M = 1.0, 0.7
HEIGHT = round(SIZE * HALF_HEIGHT_M / HALF_WIDTH_M)
PAPER, INK = (255, 255, 255), (40, 44, 52)
OBSTACLE, LINK = (200, 204, 210), (170, 190, 215)
STATE, PREDICTION, GAP = (38, 100, 180), (226, 132, 30), (214, 64, 48)
GOAL = (48, 150, 84)


@dataclass(frozen=True, eq=False)
class StateSnapshot:
    """Virtual states in the course of a solve.

    Attributes:
        iteration: lifted iterations made.
        states: virtual states s_1 .. s_T (T, 2) in metres.
        predictions: what the model predicts from each state and its action (T, 2).
        rollout: serial rollout of the actions (T, 2).
    """

    iteration: int
    states: Tensor
    predictions: Tensor
    rollout: Tensor

    @property
    def gap_m(self) -> float:
        """Largest distance between a virtual state and what is predicted for it, metres."""
        return float((self.states - self.predictions).norm(dim=-1).max())


def watch_solve(
    model: BallModel, problem: PlanProblem, seed: int = 0, config: GraspConfig = CONFIG
) -> list[StateSnapshot]:
    """Every iteration of GRASP on one problem."""
    seen: list[StateSnapshot] = []

    @torch.no_grad()
    def observe(iteration: int, states: Tensor, actions: Tensor) -> None:
        latents, taken = windows(problem.context, states, problem.past_actions, actions)
        predicted = predict_windows(model, latents, taken)
        rolled = rollout(model, problem.context, problem.past_actions, actions)
        seen.append(StateSnapshot(iteration, states[0], predicted[0], rolled[0]))

    planner = GraspPlanner(model, config, observe)
    planner.plan(problem, generator=torch.Generator(model.device).manual_seed(seed))
    return seen


def draw_image(
    model: BallModel, problem: PlanProblem, seen: Sequence[StateSnapshot]
) -> Image.Image:
    """Three panels: the first, a noisy and the last of the snapshots."""
    chosen = [seen[0], seen[min(NOISY, len(seen) - 1)], seen[-1]]
    titles = [
        'initial: a noisy line to the goal',
        f'iteration {chosen[1].iteration}: noise explores, gaps remain',
        f'iteration {chosen[2].iteration}: what the model can do',
    ]
    width, height = len(chosen) * SIZE, HEIGHT + 3 * LINE
    image = Image.new('RGB', (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default()
    for index, (snapshot, title) in enumerate(zip(chosen, titles, strict=True)):
        left = index * SIZE
        image.paste(_panel(model, problem, snapshot), (left, 2 * LINE))
        draw.text((left + 10, 5), title, fill=INK, font=font)
        gap = f'largest gap {100 * snapshot.gap_m:.1f} cm'
        draw.text((left + 10, 5 + LINE), gap, fill=INK, font=font)
    legend = [
        ('virtual states', STATE),
        ("model's prediction from the state before", PREDICTION),
        ('gap', GAP),
        ('serial rollout of the actions', INK),
        ('goal', GOAL),
    ]
    left = 10
    for text, colour in legend:
        top = HEIGHT + 2 * LINE + 4
        draw.ellipse((left, top + 2, left + 8, top + 10), fill=colour)
        draw.text((left + 14, top), text, fill=INK, font=font)
        left += 40 + round(draw.textlength(text, font=font))
    return image


def main(arguments: Sequence[str] | None = None, config: GraspConfig = CONFIG) -> None:
    """Write the image of a solve with `config`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('out/virtual_states.png'))
    parser.add_argument('--seed', type=int, default=0, help='of the noise')
    options = parser.parse_args(arguments)
    model = BallModel()
    problem = ball_problem(model)
    image = draw_image(model, problem, watch_solve(model, problem, options.seed, config))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    image.save(options.output, optimize=True)
    print(f'wrote {options.output}')


def _panel(model: BallModel, problem: PlanProblem, snapshot: StateSnapshot) -> Image.Image:
    """One snapshot, drawn larger and shrunk for smooth lines."""
    panel = Image.new('RGB', (FINER * SIZE, FINER * HEIGHT), PAPER)
    draw = ImageDraw.Draw(panel)
    for x, y, radius in model.world.obstacles:
        _disc(draw, torch.tensor([x, y]), radius, OBSTACLE)
    start = problem.context[0, -1]
    states = torch.cat([start[None], snapshot.states])
    _line(draw, states, LINK, 2)
    _line(draw, torch.cat([start[None], snapshot.rollout]), INK, 3)
    for state, prediction in zip(snapshot.states, snapshot.predictions, strict=True):
        _line(draw, torch.stack([state, prediction]), GAP, 3)
        _disc(draw, prediction, 0.010, PREDICTION)
    for state in states:
        _disc(draw, state, 0.014, STATE)
    _disc(draw, problem.goal[0], 0.03, GOAL)
    _disc(draw, start, 0.03, INK)
    edge = (0, 0, FINER * SIZE - 1, FINER * HEIGHT - 1)
    draw.rectangle(edge, outline=OBSTACLE, width=FINER)
    return panel.resize((SIZE, HEIGHT), Image.Resampling.LANCZOS)


def _pixel(position: Tensor) -> tuple[float, float]:
    scale = FINER * SIZE / (2 * HALF_WIDTH_M)
    return (
        (float(position[0]) + HALF_WIDTH_M) * scale,
        (HALF_HEIGHT_M - float(position[1])) * scale,
    )


def _line(
    draw: ImageDraw.ImageDraw, positions: Tensor, colour: tuple[int, int, int], width: int
) -> None:
    draw.line([_pixel(position) for position in positions], fill=colour, width=width)


def _disc(
    draw: ImageDraw.ImageDraw, centre: Tensor, radius_m: float, colour: tuple[int, int, int]
) -> None:
    x, y = _pixel(centre)
    radius = radius_m * FINER * SIZE / (2 * HALF_WIDTH_M)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


if __name__ == '__main__':
    main()
