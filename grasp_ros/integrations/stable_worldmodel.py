"""GRASP and its rivals as solvers of the library stable-worldmodel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.integrations.stable_worldmodel_models import AdaptedModel, Info, library_model
from grasp_ros.models.protocol import rollout
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Planner
from grasp_ros.planning.registry import PLANNERS, build


class Scaler(Protocol):
    """The library's `Transformable`, of which a solver needs one direction."""

    def transform(self, x: NDArray[Any]) -> NDArray[Any]:
        """Commands (N, R) as the world model was trained with them."""
        ...


class PlannerSolver:
    """A planner of this package behind the library's `Solver` protocol.

    It plans for all environments at once and leaves the model as it is. The goal distance is the
    mean squared difference of latents. Bounds are those of the action space. Horizon, frame skip
    (`action_block`) and warm start are the policy's (`PlanConfig`).
    """

    def __init__(
        self,
        model: Any,
        planner: str,
        options: Mapping[str, Any] | None = None,
        *,
        action_scaler: Scaler | None = None,
        deadline_s: float | None = None,
        seed: int = 0,
    ) -> None:
        """Plan with a model of the library.

        Args:
            model: LeWM, PLDM, PreJEPA or the like, in evaluation mode.
            planner: name in grasp_ros.planning.registry.PLANNERS.
            options: values of its configuration that are not the defaults.
            action_scaler: the policy's `process['action']`, which turns what is planned into
                commands; None where the policy has none.
            deadline_s: seconds after which a solve returns its best plan so far; None for no
                limit.
            seed: of all randomness.

        Raises:
            ValueError: if there is no such planner, or it cannot plan with this model.
            TypeError: if it has no such option.
        """
        self.model = model
        self._library = library_model(model)
        self._planner_name = planner
        self._options = dict(options or {})
        if planner in PLANNERS:
            PLANNERS[planner].config(**self._options)
        else:
            raise ValueError(f'there is no planner {planner!r}; there are: {", ".join(PLANNERS)}')
        self._scaler = action_scaler
        self._deadline_s = deadline_s
        weight = next(model.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._planner: Planner | None = None
        self._prepared: tuple[int, ...] | None = None

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        """Learn the shapes; see the library's Solver.

        Args:
            action_space: gymnasium Box (n_envs, ...) with finite bounds.
            n_envs: environments, of which a solve may be for some.
            config: the policy's PlanConfig; `horizon` and `action_block` are used.

        Raises:
            ValueError: if actions are discrete or unbounded, or the model is in training mode.
        """
        if getattr(self.model, 'training', False):
            raise ValueError('the model is in training mode; call model.eval() first')
        if not hasattr(action_space, 'low'):
            raise ValueError(f'actions must be continuous (gymnasium Box), are {action_space}')
        self._n_envs = n_envs
        self._config = config
        self._action_low, self._action_high = self._bounds(action_space)
        self._planner = None
        self._prepared = None

    @property
    def action_dim(self) -> int:
        """A, components of a block of commands."""
        return len(self._action_low)

    @property
    def n_envs(self) -> int:
        """Number of environments."""
        return self._n_envs

    @property
    def horizon(self) -> int:
        """T, in model steps (blocks)."""
        return int(self._config.horizon)

    def __call__(self, info_dict: Info, init_action: Tensor | None = None) -> dict[str, Any]:
        """The same as solve, as the library's policy calls it."""
        return self.solve(info_dict, init_action)

    def solve(self, info_dict: Info, init_action: Tensor | None = None) -> dict[str, Any]:
        """Plan for B environments.

        Args:
            info_dict: `pixels` and `goal` (B, K, ...) and what else the model encodes. Frames
                before the newest are used where the blocks of commands between them are there
                too, as `action_history` (B, K - 1, A).
            init_action: (B, T', A), rest of the previous plan; the stop follows.

        Returns:
            `actions` (B, T, A) on the CPU; `costs`, a goal distance for each environment;
            `defects`, how far each plan is from the model; `iterations`; `solve_time_s`.

        Raises:
            ValueError: if `pixels`, `goal` or a shape is not as it must be.
        """
        problem = self._problem(info_dict)
        if self._planner is None:
            adapted = AdaptedModel(
                self._library,
                tuple(problem.goal.shape[1:]),
                self.action_dim,
                self.device,
                self.dtype,
            )
            self._planner = build(self._planner_name, adapted, self._options)
        shape = (problem.batch, problem.horizon)
        if shape != self._prepared:
            self._planner.prepare(problem)
            self._prepared = shape
        plan = self._planner.plan(
            problem,
            self._warm_start(self._planner, problem, init_action),
            generator=self._generator,
            deadline_s=self._deadline_s,
        )
        return {
            'actions': plan.actions.cpu(),
            'costs': plan.terminal_cost.tolist(),
            'defects': plan.defect.tolist(),
            'iterations': plan.iterations,
            'solve_time_s': plan.solve_time_s,
        }

    def _bounds(self, space: Any) -> tuple[Tensor, Tensor]:
        """Bounds (A,) of a block of commands, as the model was trained with them."""
        limits = np.stack([space.low[0].reshape(-1), space.high[0].reshape(-1)])
        if not np.isfinite(limits).all():
            raise ValueError(
                f'actions must be bounded, are in {space}; wrap the environment in '
                'gymnasium.wrappers.RescaleAction or ClipAction with finite bounds'
            )
        if self._scaler is not None:
            limits = np.sort(self._scaler.transform(limits), axis=0)
        low, high = torch.as_tensor(limits, dtype=self.dtype, device=self.device)
        block = int(self._config.action_block)
        return low.repeat(block), high.repeat(block)

    @torch.no_grad()
    def _problem(self, info: Info) -> PlanProblem:
        for name in ('pixels', 'goal'):
            if not isinstance(info.get(name), Tensor):
                raise ValueError(f'info must hold the tensor {name!r}; it holds {sorted(info)}')
        seen = {
            name: self._placed(value) for name, value in info.items() if isinstance(value, Tensor)
        }
        goal = self._library.embed(seen, goal=True)[:, -1]
        context, past_actions = self._context(seen)
        stop = torch.zeros_like(self._action_low)
        return PlanProblem(
            context=context,
            past_actions=past_actions,
            goal=goal,
            action_low=self._action_low,
            action_high=self._action_high,
            stop_action=stop.clamp(self._action_low, self._action_high),
            horizon=self.horizon,
        )

    def _context(self, info: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The frames (B, H, *Z) and the actions between them (B, H - 1, A); NaN where unseen."""
        latents = self._library.embed(info)
        batch, history = len(latents), self._library.history
        between = info.get('action_history', latents.new_zeros(batch, 0, self.action_dim))
        known = min(latents.shape[1], history, between.shape[1] + 1)
        context = latents.new_full((batch, history, *latents.shape[2:]), float('nan'))
        context[:, history - known :] = latents[:, latents.shape[1] - known :]
        past_actions = latents.new_zeros(batch, history - 1, self.action_dim)
        past_actions[:, history - known :] = between[:, between.shape[1] - (known - 1) :]
        return context, past_actions

    @torch.no_grad()
    def _warm_start(
        self, planner: Planner, problem: PlanProblem, given: Tensor | None
    ) -> Plan | None:
        """The previous plan's rest as a plan: its states are its rollout from here."""
        if given is None:
            return None
        batch, horizon = problem.batch, problem.horizon
        if given.dim() != 3 or (given.shape[0], given.shape[2]) != (batch, self.action_dim):
            raise ValueError(
                f'init_action must be ({batch}, up to {horizon}, {self.action_dim}), is '
                f'{tuple(given.shape)}'
            )
        stop = problem.stop_action.expand(batch, horizon, -1)
        actions = torch.cat([self._placed(given)[:, :horizon], stop[:, given.shape[1] :]], dim=1)
        states = rollout(
            planner.distance.model, problem.context, problem.past_actions, actions
        )
        cost = planner.distance(states[:, -1], problem.goal)
        return Plan(
            actions=actions,
            states=states,
            rollout=states,
            terminal_cost=cost,
            defect=torch.zeros_like(cost),
            iterations=0,
            solve_time_s=0.0,
        )

    def _placed(self, tensor: Tensor) -> Tensor:
        """On the model's device, floating point as its weights are."""
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.to(device=self.device, dtype=dtype)


class GraspSolver(PlannerSolver):
    """GRASP (arXiv 2602.00475) as a solver of stable-worldmodel."""

    def __init__(
        self,
        model: Any,
        options: Mapping[str, Any] | None = None,
        *,
        action_scaler: Scaler | None = None,
        deadline_s: float | None = None,
        seed: int = 0,
    ) -> None:
        """Plan with GRASP; see PlannerSolver, and GraspConfig for the options."""
        super().__init__(
            model,
            'grasp',
            options,
            action_scaler=action_scaler,
            deadline_s=deadline_s,
            seed=seed,
        )
