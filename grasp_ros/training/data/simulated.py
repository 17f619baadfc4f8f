"""Motion in the simulated tasks as a dataset, random or on-policy; images are rendered late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import trange

from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.models.sensors import CAMERA, SensorSpec
from grasp_ros.planning.baselines.greedy import GreedyConfig, GreedyPlanner
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.sim.motion import MotionData, collect, collect_layouts, correlated_velocities
from grasp_ros.sim.registry import ROOMS
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, paint_robots, sample_free
from grasp_ros.training.data.dataset import Description, RecordedAction
from grasp_ros.training.recipes import TrainConfig

ON_POLICY_EPISODES_EACH = 4
LAYOUT_STREAM, ON_POLICY_STREAM = 7, 11
"""Tell the randomness of the worlds from that of the motion."""
EXPLORING = 0.2
"""Fraction of the steps in which a robot moves at random."""


class MotionDataset:
    """Random motion in a simulated task; images are rendered on demand (all: gigabytes)."""

    def __init__(
        self, worlds: Sequence[WalledWorld], motion: MotionData, action_std: float
    ) -> None:
        """Wrap recorded motion.

        Args:
            worlds: one for each of the motion's layouts.
            motion: positions and actions.
            action_std: actions are divided by it, m/s.
        """
        self.worlds = tuple(worlds)
        self.motion = motion
        self.action_std = action_std
        self._backgrounds = np.stack([world.background() for world in self.worlds])

    @property
    def episodes(self) -> int:
        """Number of episodes E."""
        return self.motion.actions.shape[0]

    @property
    def length(self) -> int:
        """Actions in each episode L."""
        return self.motion.actions.shape[1]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Actions in each episode (E,), all the same."""
        return np.full(self.episodes, self.length)

    @property
    def action_dim(self) -> int:
        """Components of an action."""
        return self.motion.actions.shape[2]

    @property
    def episodes_each(self) -> int:
        """Episodes in a row that are of the same world."""
        return self.episodes // len(self.worlds)

    def images(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Images (*S, 3, h, w) float in [0, 1] at index arrays of shape S."""
        positions = self.motion.positions[episodes, steps]
        images = self._backgrounds[(episodes // self.episodes_each).reshape(-1)]
        paint_robots(images, positions.reshape(-1, 2), self.worlds[0].robot_radius)
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
        return tensor.unflatten(0, positions.shape[:-1])

    @property
    def description(self) -> Description:
        """Commands, images and rates, as a recorded dataset describes them."""
        space, (height, width) = self.action_space, self._backgrounds.shape[1:3]
        return Description(
            action=RecordedAction(
                kind=space.kind,
                names=list(space.names),
                units=list(space.units),
                low=space.low.tolist(),
                high=space.high.tolist(),
            ),
            image=ImagePipeline(height=height, width=width),
            cameras=[CAMERA],
            model_dt=self.worlds[0].control_period,
        )

    @property
    def action_space(self) -> ActionSpace:
        """Velocities within the robot's limits."""
        limit = self.worlds[0].max_speed
        return ActionSpace(
            kind=ActionKind.VELOCITY,
            names=('linear.x', 'linear.y'),
            units=('m/s', 'm/s'),
            low=np.full(2, -limit),
            high=np.full(2, limit),
            mean=np.zeros(2),
            std=np.full(2, self.action_std),
            frame_skip=1,
        )

    @property
    def inputs(self) -> SensorSpec:
        """One camera."""
        return SensorSpec()

    def normalised_proprioception(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Tensor:
        """Nothing (*S, 0)."""
        return torch.empty(*np.shape(steps), 0)

    def pixels(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """True robot positions (*S, 2) in px: for judging, never for training the model."""
        return self.motion.positions[episodes, steps] / METRES_PER_PIXEL

    def actions(self, episodes: NDArray[np.int64], start: NDArray[np.int64], count: int) -> Tensor:
        """Normalised actions (N, count, A) that follow steps `start` (N,)."""
        steps = start[:, None] + np.arange(count)
        chosen = self.motion.actions[episodes[:, None], steps]
        return torch.from_numpy(chosen / self.action_std).float()

    def command_fractions(self) -> NDArray[np.float64]:
        """Velocities of all frames (N, 2) over the greatest; zero after an episode's last."""
        fractions = self.motion.actions / self.worlds[0].max_speed
        padded = np.concatenate([fractions, np.zeros_like(fractions[:, :1])], axis=1)
        return padded.reshape(-1, fractions.shape[-1])


def record(
    config: TrainConfig,
    layouts: int,
    episodes: int,
    length: int,
    seed: int,
    action_std: float | None = None,
) -> MotionDataset:
    """Random motion in worlds drawn for this seed.

    Args:
        config: of the task.
        layouts: worlds to draw.
        episodes: of all worlds together.
        length: actions of an episode.
        seed: of all randomness.
        action_std: actions are divided by it, m/s; None for their own standard deviation.
    """
    task = ROOMS[config.task]
    rng = np.random.default_rng([seed, LAYOUT_STREAM])
    worlds = [task.draw(rng) for _ in range(layouts)]
    if layouts == 1:
        motion = collect(worlds[0], episodes, length, seed)
    else:
        motion = collect_layouts(worlds, episodes // layouts, length, seed, config.near_door)
    return MotionDataset(worlds, motion, action_std or float(motion.actions.std()))


def record_on_policy(
    config: TrainConfig, model: CompactModel, action_std: float
) -> MotionDataset:
    """Episodes that the model itself drives, in worlds that it has not seen."""
    task = ROOMS[config.task]
    rng = np.random.default_rng([config.seed, ON_POLICY_STREAM])
    layouts = min(config.layouts, max(1, config.on_policy_episodes // ON_POLICY_EPISODES_EACH))
    worlds = [task.draw(rng) for _ in range(layouts)]
    each = max(1, config.on_policy_episodes // layouts)
    motion = drive(model, worlds, each, config.length, config.seed, action_std)
    return MotionDataset(worlds, motion, action_std)


@torch.no_grad()
def drive(
    model: CompactModel,
    worlds: Sequence[WalledWorld],
    episodes_each: int,
    length: int,
    seed: int,
    action_std: float,
) -> MotionData:
    """Let robots drive greedily on the learned time to reach, with random motion in between.

    Args:
        model: with a trained head.
        worlds: where; start and goal are uniform over the free floor.
        episodes_each: episodes in each world.
        length: actions of an episode.
        seed: of all randomness.
        action_std: the model's actions are in units of it, m/s.
    """
    rng = np.random.default_rng([seed, 20263])
    episodes, limit = len(worlds) * episodes_each, worlds[0].max_speed
    backgrounds = np.stack([world.background() for world in worlds]).repeat(episodes_each, axis=0)

    def free() -> NDArray[np.float64]:
        return METRES_PER_PIXEL * np.concatenate(
            [sample_free(world, episodes_each, rng) for world in worlds]
        )

    def encode(positions: NDArray[np.float64]) -> Tensor:
        images = paint_robots(backgrounds.copy(), positions, worlds[0].robot_radius)
        return model.embed(torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255))

    goal, positions = encode(free()), [free()]
    bound = torch.full((model.action_dim,), limit / action_std)
    planner = GreedyPlanner(model, GreedyConfig(goal_distance='time_to_reach', choices=32))
    generator = torch.Generator().manual_seed(seed)
    random = correlated_velocities(episodes, length, limit, rng)
    exploring = correlated_velocities(episodes, length, 1.0, rng)[..., 0] > 1 - 2 * EXPLORING
    actions = []
    for step in trange(length, desc='driving', unit='step'):
        problem = PlanProblem(
            context=encode(positions[-1])[:, None],
            past_actions=goal.new_zeros(episodes, 0, model.action_dim),
            goal=goal,
            action_low=-bound,
            action_high=bound,
            stop_action=torch.zeros_like(bound),
            horizon=1,
        )
        greedy = planner.plan(problem, generator=generator).actions[:, 0].double().numpy()
        taken = np.where(exploring[:, step, None], random[:, step], greedy * action_std)
        moved = [
            world.advance(
                positions[-1][index * episodes_each : (index + 1) * episodes_each],
                taken[index * episodes_each : (index + 1) * episodes_each],
                world.control_period,
            )
            for index, world in enumerate(worlds)
        ]
        actions.append(taken)
        positions.append(np.concatenate(moved))
    return MotionData(np.stack(positions, axis=1), np.stack(actions, axis=1), len(worlds))
