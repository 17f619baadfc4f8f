"""What is captured runs on PyTorch's `meta` device: what works there, a graph on a GPU can hold.

A tensor of that device has no content, so whatever would have to wait for one fails here, too; and
it mixes with no tensor of another device. Not seen here are bfloat16, which has no autocast there,
and what a kernel of CUDA itself waits for.
"""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from grasp_ros.benchmark.speed.iteration import random_problem
from grasp_ros.planning.cuda_graphs import Executor
from grasp_ros.planning.gauss_newton import GaussNewtonIteration
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.initial_guess import action_choices, initial_guesses
from grasp_ros.planning.lifted import LiftedIteration, LiftedSettings
from grasp_ros.planning.objective import goal_distance
from harness.tiny_models import TINY_MODELS
from harness.toy_models import SmoothModelWithHead, problem_for

HORIZON, CANDIDATES = 3, 2
EVERY_COMBINATION = ('compact', 'patches')
"""Models that are tried with all options; to the others it is their predictions that matter."""

CAPTURED_OF = {'gradient': ['gradient sync'], 'sweeps': ['sweep sync'], 'cem': []}
"""What a sync captures beside rollouts; cross-entropy rounds draw, which no graph does."""

INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


class OnlyOnMeta(TorchDispatchMode):
    """Fails where an operation takes or makes a tensor of another device, or picks by a mask."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        masks = [tensor for tensor in tensors if tensor.dtype == torch.bool]
        assert not (packet in INDEXING and masks), f'{func}: its size depends on a mask'
        outputs = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
        for tensor in tensors + made:
            assert tensor.device.type == 'meta', f'{func}: a tensor on {tensor.device}'
        return outputs


class OnMeta(Executor):
    """Runs what can be captured watched; `ran` holds its names."""

    def __init__(self):
        super().__init__()
        self.ran = set()

    def __call__(self, key, function, *inputs):
        self.ran.add(key if isinstance(key, str) else key[0])
        with OnlyOnMeta():
            return function(*inputs)


def build(name):
    with torch.device('meta'):
        return TINY_MODELS[name]().eval().requires_grad_(False)


def meta_problem(model, rows=CANDIDATES):
    """A problem whose tensors have the shapes of the model's, and no content."""
    return random_problem(model, rows, HORIZON, seed=0)


def distances(model):
    """All goal distances that the model knows."""
    yield goal_distance(model, 'latent')
    if hasattr(model, 'time_to_reach'):
        yield goal_distance(model, 'time_to_reach')


def iterations(every):
    """Iterations that can be captured, with their settings and units of the states' rate."""
    options = itertools.product((0.0, 0.5), (None, 2), (None, 0.5))
    for relaxation, max_rows, spread in options if every else [(0.0, None, None)]:
        settings = LiftedSettings(
            0.1, 0.05, max_rows=max_rows, state_relaxation=relaxation, damping=1e-3
        )
        yield GaussNewtonIteration, settings, spread
        for stop_gradient in (True, False):
            yield LiftedIteration, replace(settings, stop_gradient=stop_gradient), spread


@pytest.mark.parametrize('name', TINY_MODELS)
def test_iterations_need_no_content_and_no_other_device(name):
    model = build(name)
    problem = meta_problem(model)
    states = problem.goal[:, None].expand(-1, HORIZON, *model.latent_shape).clone()
    actions = problem.action_low.new_zeros(CANDIDATES, HORIZON, model.action_dim)
    for distance in distances(model):
        for kind, settings, spread in iterations(name in EVERY_COMBINATION):
            executor = OnMeta()
            lifted = kind(distance, problem, settings, states, actions, executor, spread)
            lifted.iterate(1.0, 0.1, torch.Generator())
            assert executor.ran == {'lifted iteration'}
            assert lifted.states.shape == states.shape
            assert lifted.actions.device.type == 'meta'


@pytest.mark.parametrize(
    ('name', 'sync_kind'),
    [
        *((name, 'gradient') for name in TINY_MODELS),
        *((name, kind) for name in EVERY_COMBINATION for kind in ('sweeps', 'cem')),
    ],
)
def test_all_that_a_solve_captures_needs_no_content(name, sync_kind):
    model = build(name)
    config = GraspConfig(
        iterations=1, sync_every=1, sync_steps=2, sync_kind=sync_kind, sync_sweeps=2, sync_rounds=1,
        sync_samples=2, sync_elites=1, seed_greedy=False, proposals=2, path_weight=0.5,
    )  # fmt: skip
    problem = meta_problem(model, 1)
    chunks = (0, 2) if sync_kind == 'sweeps' else (0,)
    for distance, max_rows in itertools.product(distances(model), chunks):
        executor = OnMeta()
        planner = GraspPlanner(
            model,
            replace(
                config,
                goal_distance=distance.kind,
                max_rows_per_call=max_rows,
            ),
            executor=executor,
        )
        generator = torch.Generator()
        plan = planner.plan(problem, generator=generator)
        planner.plan(problem, plan, generator=generator)
        # A solve waits for the choices of its greedy rollout once, before anything is captured.
        options = replace(config, seed_greedy=True)
        choices = action_choices(problem, 4)
        initial_guesses(distance, problem, plan, options, choices, generator, executor)
        always = {'initial guesses', 'rollout', 'lifted iteration'}
        assert executor.ran == always | {*CAPTURED_OF[sync_kind]}


class ReadsTheDevice(SmoothModelWithHead):
    def predict(self, latents, actions):
        return super().predict(latents, actions) * (2.0 if actions.sum() > 0 else 1.0)


class MixesDevices(SmoothModelWithHead):
    def predict(self, latents, actions):
        return super().predict(latents, actions) * torch.ones(())


class PicksByContent(SmoothModelWithHead):
    def predict(self, latents, actions):
        found = super().predict(latents, actions)
        found[found > 1.0] = actions.sum() * torch.ones_like(found)[found > 1.0]
        return found


@pytest.mark.parametrize('kind', [ReadsTheDevice, MixesDevices, PicksByContent])
def test_models_that_no_graph_can_hold_are_noticed(kind):
    model, problem = on_meta(kind(1, (4,), 2)), on_meta(problem_for(kind(1, (4,), 2), HORIZON))
    planner = GraspPlanner(
        model, GraspConfig(iterations=1, seed_greedy=False, proposals=0), executor=OnMeta()
    )
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        planner.plan(problem, generator=torch.Generator())


def on_meta(thing):
    """A toy model or a problem, its tensors without content."""
    for name, value in vars(thing).items():
        if isinstance(value, torch.Tensor):
            object.__setattr__(thing, name, value.to('meta'))
    if isinstance(thing, SmoothModelWithHead):
        thing.device = torch.device('meta')
    return thing
