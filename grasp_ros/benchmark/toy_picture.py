"""A picture that explains virtual states: GRASP on the toy ball, at the start, noisy, converged."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from grasp_ros.models.protocol import predict_windows, rollout, windows
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.sim.ball import BallModel, ball_problem

# GRASP as published but for the rates, which fit a latent measured in metres: no seeds, no learned
# distance, so that the virtual states do the work.
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


def watch_solve(model: BallModel, problem: PlanProblem, seed: int = 0) -> list[StateSnapshot]:
    """Every iteration of GRASP on one problem."""
    seen: list[StateSnapshot] = []

    @torch.no_grad()
    def observe(iteration: int, states: Tensor, actions: Tensor) -> None:
        latents, taken = windows(problem.context, states, problem.past_actions, actions)
        predicted = predict_windows(model, latents, taken)
        rolled = rollout(model, problem.context, problem.past_actions, actions)
        seen.append(StateSnapshot(iteration, states[0], predicted[0], rolled[0]))

    planner = GraspPlanner(model, CONFIG, observe)
    planner.plan(problem, generator=torch.Generator(model.device).manual_seed(seed))
    return seen


def draw_picture(
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
    picture = Image.new('RGB', (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default()
    for index, (snapshot, title) in enumerate(zip(chosen, titles, strict=True)):
        left = index * SIZE
        picture.paste(_panel(model, problem, snapshot), (left, 2 * LINE))
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
    return picture


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('out/virtual_states.png'))
    parser.add_argument('--seed', type=int, default=0, help='of the noise')
    options = parser.parse_args(arguments)
    model = BallModel()
    problem = ball_problem(model)
    picture = draw_picture(model, problem, watch_solve(model, problem, options.seed))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.output, optimize=True)
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
