"""A controller with toy models, the robot that obeys it, and a clock that is handed in."""

import numpy as np
import torch

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.limits import Limits
from grasp_ros.control.types import State
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.protocol import LoadedModel, rollout
from grasp_ros.models.sensors import SensorSpec
from grasp_ros.planning.objective import goal_distance
from grasp_ros.planning.problem import Plan
from grasp_ros.planning.protocol import Execution
from harness.toy_models import LinearModel, ToyModel, picture, preprocess

MS = 1_000_000
PERIOD = 100 * MS
MAX_SPEED = 5.0
CONFIG = ControllerConfig(horizon=8, planning_delay=0.1)


class ProportionalPlanner:
    """Each action goes a share of the way to the goal: the first one tells the state exactly."""

    execution = Execution()

    def __init__(self, model, gain=0.2):
        self.model, self.gain = model, gain
        self.distance = goal_distance(model, 'latent')
        self.problems, self.inits = [], []
        self.error = self.meanwhile = None
        self.defect = 0.0

    def prepare(self, problem):
        pass

    def first_action(self, state, goal, size):
        return np.tile(self.gain * (goal - state), size // 2) / (size // 2)

    def plan(self, problem, init=None, *, generator, deadline_s=None):
        self.problems.append(problem)
        self.inits.append(init)
        if self.meanwhile is not None:
            self.meanwhile()
        if self.error is not None:
            raise self.error
        frames, past, actions = problem.context, problem.past_actions, []
        share = problem.action_low.shape[0] // 2
        for _ in range(problem.horizon):
            action = (self.gain * (problem.goal - frames[:, -1]) / share).repeat(1, share)
            action = action.clamp(problem.action_low, problem.action_high)
            window = torch.cat([past, action[:, None]], dim=1)
            following = self.model.predict(frames, window)
            frames = torch.cat([frames[:, 1:], following[:, None]], dim=1)
            past = window[:, 1:]
            actions.append(action)
        stacked = torch.stack(actions, dim=1)
        rolled = rollout(self.model, problem.context, problem.past_actions, stacked)
        return Plan(
            actions=stacked,
            states=rolled,
            rollout=rolled,
            terminal_cost=self.distance(rolled[:, -1], problem.goal),
            defect=torch.full((1,), self.defect).double(),
            iterations=1,
            solve_time_s=1e-3,
        )


class HistoryModel(ToyModel):
    """The linear plant, but the model wants three frames, and keeps what it was given."""

    history = 3

    def __init__(self):
        self.seen = []

    def predict(self, latents, actions):
        self.seen.append((latents.clone(), actions.clone()))
        return latents[:, -1] + actions[:, -1]


class Rig:
    """A robot whose position changes by velocity times time, its controller, and a clock."""

    def __init__(self, config=CONFIG, *, model=None, kind=ActionKind.VELOCITY, skip=1,
                 rate=np.inf, planner=None, inputs=None):  # fmt: skip
        identity = torch.eye(2, dtype=torch.float64)
        self.model = model or LinearModel(control=torch.cat([identity] * skip, dim=1))
        self.planner = planner or ProportionalPlanner(self.model)
        # A normalised action of 1 is 1 unit in a command's period.
        seconds = config.model_dt / skip
        limit = np.full(2, MAX_SPEED)
        self.space = ActionSpace(
            kind, ('x', 'y'), ('m/s', 'm/s'), -limit, limit, np.zeros(2),
            np.full(2, 1 / seconds), skip,
        )  # fmt: skip
        limits = Limits(-limit, limit, np.full(2, rate))
        loaded = LoadedModel(self.model, preprocess, self.space, inputs or SensorSpec())
        self.controller = Controller(loaded, self.planner, limits, config)
        self.now = 1000 * PERIOD
        self.position = np.zeros(2)
        self.velocity = np.zeros(2)
        self.track = []
        self.report = None

    def goal(self, *position):
        return self.controller.set_goal(picture(*position))

    def observe(self, **kwargs):
        return self.controller.observe(picture(*self.position), self.now, **kwargs)

    def plan(self, clock=None):
        self.report = self.controller.plan(self.now, clock)
        return self.report

    def command(self, **kwargs):
        """Take the command due now; the robot obeys it."""
        command = self.controller.command(self.now, **kwargs)
        if command.action is not None and not self.controller.config.dry_run:
            self.velocity = command.action.copy()
        return command

    def wait(self, duration=PERIOD):
        self.position = self.position + self.velocity * duration / 1e9
        self.now += duration

    def step(self, *, see=True, think=True):
        """One control period: command, picture, plan."""
        if see:
            self.observe()
        command = self.command()
        self.track.append(command)
        if think:
            self.plan()
        self.wait()
        return command

    def steps(self, count, **kwargs):
        return [self.step(**kwargs) for _ in range(count)]

    def running(self, *goal):
        """Bring it to RUNNING."""
        self.goal(*(goal or (3.0, -2.0)))
        self.steps(3)
        assert self.track[-1].state == State.RUNNING
        return self


def states(commands):
    return [command.state for command in commands]
