"""World models with known answers, in float64, and the pictures that they see."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from grasp_ros.models.protocol import Observation
from grasp_ros.planning.problem import PlanProblem


def picture(*values: float) -> np.ndarray:
    """A camera picture (1, 6, 3) uint8 whose bytes are up to two numbers, exactly."""
    padded = np.zeros(2)
    padded[: len(values)] = values
    return np.frombuffer(padded.tobytes() + b'\0\0', np.uint8).reshape(1, 6, 3)


def preprocess(image: np.ndarray) -> np.ndarray:
    """The numbers in a picture as a model input (3, 1, 1)."""
    values = np.frombuffer(image.tobytes()[:16], np.float64)
    return np.append(values, 0.0).reshape(3, 1, 1)


class ToyModel:
    """What all toys share; the first numbers of a picture are its latent."""

    device = torch.device('cpu')
    dtype = torch.float64
    history = 1
    latent_shape = (2,)
    action_dim = 2

    def encode(self, observation: Observation) -> Tensor:
        return observation.images[..., : self.latent_shape[-1], 0, 0].to(self.dtype)


class LinearModel(ToyModel):
    """s' = A s + B a; gives NaN while `broken`, raises while `failing`."""

    def __init__(self, dynamics: Tensor | None = None, control: Tensor | None = None) -> None:
        self.dynamics = torch.eye(2, dtype=self.dtype) if dynamics is None else dynamics
        self.control = torch.eye(2, dtype=self.dtype) if control is None else control
        self.latent_shape = (self.dynamics.shape[0],)
        self.action_dim = self.control.shape[1]
        self.broken = False
        self.failing = False
        self.calls = 0

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        self.calls += 1
        if self.failing:
            raise RuntimeError('the model fails on demand')
        following = latents[:, -1] @ self.dynamics.T + actions[:, -1] @ self.control.T
        return following * float('nan') if self.broken else following


class LinearModelWithHead(LinearModel):
    """With a learned distance: the Euclidean one."""

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        return ((latents - goal).square().sum(dim=-1) + 1e-6).sqrt()


class ClockworkModel(ToyModel):
    """Three frames of context; integers stay integers, and every input changes the result."""

    history = 3
    latent_shape = (2,)
    action_dim = 1

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        of_frames = latents.new_tensor([1.0, 2.0, 3.0])[:, None]
        of_actions = latents.new_tensor([5.0, 7.0, 11.0])[:, None]
        total = (latents * of_frames).sum(dim=1) + (actions * of_actions).sum(dim=1)
        return torch.remainder(total, 97.0)


class SmoothModel(ToyModel):
    """A random smooth function of all frames and actions, of any latent shape and history."""

    def __init__(self, history: int, latent_shape: tuple[int, ...], action_dim: int) -> None:
        self.history, self.latent_shape, self.action_dim = history, latent_shape, action_dim
        generator = torch.Generator().manual_seed(5)
        elements = int(np.prod(latent_shape))

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=self.dtype)

        self.first = draw(history * (elements + action_dim), 16) / 4
        self.second = draw(16, elements) / 4
        self.embedding = draw(elements, 8)
        self.rows = 0
        self.calls = 0

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        self.calls += 1
        self.rows = max(self.rows, len(latents))
        inputs = torch.cat([latents.flatten(1), actions.flatten(1)], dim=1)
        change = torch.tanh(inputs @ self.first) @ self.second
        return latents[:, -1] + change.unflatten(1, self.latent_shape)


class SmoothModelWithHead(SmoothModel):
    """With a learned distance that is not symmetric."""

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        dims = len(self.latent_shape)
        gap = (latents - goal).flatten(-dims) @ self.embedding
        return torch.nn.functional.softplus(gap).mean(dim=-1)


def problem_for(
    model: ToyModel, horizon: int, *, batch: int = 1, seed: int = 0, bound: float = 1.0
) -> PlanProblem:
    """A random problem: context near 0, goal about one standard deviation away."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=model.dtype)

    limit = torch.full((model.action_dim,), bound, dtype=model.dtype)
    return PlanProblem(
        context=0.3 * draw(batch, model.history, *model.latent_shape),
        past_actions=draw(batch, model.history - 1, model.action_dim),
        goal=draw(batch, *model.latent_shape),
        action_low=-limit,
        action_high=limit,
        stop_action=torch.zeros_like(limit),
        horizon=horizon,
    )


def one_of(problem: PlanProblem, index: int) -> PlanProblem:
    """One problem of several."""
    part = slice(index, index + 1)
    return replace(
        problem,
        context=problem.context[part],
        past_actions=problem.past_actions[part],
        goal=problem.goal[part],
    )
