"""The toy problem: a ball in the plane among round obstacles, with known dynamics.

Its position is the latent, so that planners can be tested and looked at without learning anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from grasp_ros.models.protocol import Observation
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
