"""Small models and an environment of stable-worldmodel, and what its solvers are handed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from harness.library_stand_ins import stand_ins

gymnasium = pytest.importorskip('gymnasium')
with stand_ins():
    swm = pytest.importorskip('stable_worldmodel')
    from stable_worldmodel.data import ZScoreScaler
    from stable_worldmodel.wm.lewm import LeWM, module
    from stable_worldmodel.wm.prejepa import PreJEPA
    from stable_worldmodel.wm.prejepa import module as patch_module

PIXELS = 64
SPEED = 0.05
BLOCK = 2
SCALER = ZScoreScaler(mean=np.array([[0.2, -0.1]]), std=np.array([[0.5, 0.8]]))
"""Commands to actions, as if a model had been trained with such statistics."""

NO_SEARCH = {'iterations': 0, 'seed_greedy': False, 'proposals': 0}


class Point(gymnasium.Env):
    """A bright spot on a unit square; a command moves it, the goal is another spot."""

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(0.25, 0.75, (2, 2))
        return self._seen()

    def step(self, action):
        assert np.abs(action).max() <= 1 + 1e-5
        self.position = self.position + SPEED * action
        arrived = bool(np.abs(self.position - self.goal).max() < 0.02)
        observation, info = self._seen()
        return observation, 0.0, arrived, False, info

    def render(self):
        return picture(self.position)

    def _seen(self):
        return self.position.astype(np.float32), {'goal': picture(self.goal)}


gymnasium.register('grasp_ros/Point-v0', Point)


def picture(position):
    """A spot at a position in the unit square (h, w, 3) uint8."""
    row, column = np.mgrid[:PIXELS, :PIXELS] / PIXELS
    spot = np.exp(-((column - position[0]) ** 2 + (row - position[1]) ** 2) / (2 * 0.06**2))
    return np.repeat((255 * spot).astype(np.uint8)[..., None], 3, axis=2)


class Centroid(nn.Module):
    """Encoder: where the spot of a picture (N, h, w, 3) is."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pixels, interpolate_pos_encoding):
        weight = pixels[..., 0]
        axis = torch.arange(PIXELS, dtype=weight.dtype) / PIXELS
        total = weight.sum(dim=(1, 2))
        place = [(weight.sum(dim=dim) @ axis) / total for dim in (1, 2)]
        return SimpleNamespace(last_hidden_state=self.scale * torch.stack(place, dim=-1)[:, None])


class Displacement(nn.Module):
    """Action encoder: how far a block of actions (..., BLOCK * 2) moves the spot."""

    def forward(self, actions):
        commands = actions.unflatten(-1, (BLOCK, 2)) * torch.tensor(SCALER.std).float()
        return SPEED * (commands + torch.tensor(SCALER.mean).float()).sum(dim=-2)


class AlternateDisplacement(nn.Module):
    """Action encoder: the first command of a block moves in x only, the second in y only."""

    def forward(self, actions):
        return SPEED * torch.stack([actions[..., 0], actions[..., 3]], dim=-1)


class Adder(nn.Module):
    """Predictor of both."""

    num_frames = 1

    def forward(self, latents, moved):
        return latents + moved


def point_model(action_encoder=None):
    return LeWM(Centroid(), Adder(), action_encoder or Displacement()).eval()


class RandomEncoder(nn.Module):
    """A smooth function of a picture (N, 3, 4, 4): one class token and `tokens` patches."""

    def __init__(self, size, tokens=0):
        super().__init__()
        self.size = size
        self.layer = nn.Linear(48, (1 + tokens) * size)

    def forward(self, pixels, interpolate_pos_encoding):
        hidden = self.layer(pixels.flatten(1)).tanh()
        return SimpleNamespace(last_hidden_state=hidden.unflatten(1, (-1, self.size)))


def randomised(model):
    """With weights that use all inputs; the library starts its action layers at zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval()


def vector_model(kind=LeWM):
    predictor = module.Predictor(
        num_frames=3, depth=1, heads=2, dim_head=4, mlp_dim=8, input_dim=6, hidden_dim=6
    )
    embedder = module.Embedder(input_dim=2 * BLOCK, emb_dim=6)
    return randomised(kind(RandomEncoder(6), predictor, embedder))


def patch_model():
    encoders = nn.ModuleDict(
        {
            'proprio': patch_module.Embedder(in_chans=2, emb_dim=3),
            'action': patch_module.Embedder(in_chans=2 * BLOCK, emb_dim=2),
            'force': patch_module.Embedder(in_chans=1, emb_dim=1),
        }
    )
    predictor = patch_module.CausalPredictor(
        num_patches=4, num_frames=3, dim=5 + 6, depth=1, heads=2, dim_head=4, mlp_dim=8
    )
    return randomised(PreJEPA(RandomEncoder(5, 4), predictor, encoders, history_size=3))


def observed(batch, frames=1, seed=0):
    """An info dict as the policy hands it over, of environments that were just reset."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(batch, *shape, generator=generator)

    return {
        'pixels': draw(frames, 3, 4, 4),
        'goal': draw(1, 3, 4, 4),
        'proprio': draw(frames, 2),
        'goal_proprio': draw(1, 2),
        'force': draw(frames, 1),
        'goal_force': draw(1, 1),
        'action': torch.full((batch, 1, 2), float('nan')),
        'id': torch.arange(batch)[:, None],
        'step_idx': torch.zeros(batch, 1, dtype=torch.int64),
        'names': ['of no interest'] * batch,
    }


def for_candidates(info):
    """The info dict as the library's solvers hand it to a model: one candidate each."""
    return {name: value[:, None] for name, value in info.items() if torch.is_tensor(value)}


def librarys_costs(model, info, actions):
    """Costs of plans (B, T, A), one environment at a time: its criterion mixes up several."""
    one_by_one = [
        model.get_cost(
            for_candidates({name: value[i : i + 1] for name, value in info.items()}),
            actions[i : i + 1, None],
        )
        for i in range(len(actions))
    ]
    return torch.cat(one_by_one)[:, 0]


def spots(positions, goals):
    """An info dict of Point environments."""
    return {
        'pixels': torch.from_numpy(np.stack([picture(p) for p in positions]))[:, None],
        'goal': torch.from_numpy(np.stack([picture(g) for g in goals]))[:, None],
    }


def configured(solver, *, horizon=5, n_envs=2, low=(-1, -1), high=(1, 1)):
    space = gymnasium.vector.utils.batch_space(
        gymnasium.spaces.Box(np.float32(low), np.float32(high)), n_envs
    )
    config = swm.PlanConfig(horizon=horizon, receding_horizon=1, action_block=BLOCK)
    solver.configure(action_space=space, n_envs=n_envs, config=config)
    return solver
