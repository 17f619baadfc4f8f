"""Captured solves equal eager ones; what cannot be captured runs eagerly and says so."""

import copy
import logging
from dataclasses import asdict, fields, replace

import pytest
import torch

from grasp_ros.planning.ablations.grasp_variants import GraspAblation, GraspAblationConfig
from grasp_ros.planning.cuda_graphs import CudaGraphs, Executor, tensors_of, with_tensors
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.protocol import Execution
from harness.toy_models import SmoothModelWithHead, problem_for

CONFIG = GraspConfig(iterations=5, candidates=2, sync_every=3, greedy_choices=4, proposals=3)
CONFIGS = [
    CONFIG,
    replace(CONFIG, goal_distance='latent'),
    replace(CONFIG, sync_kind='cem'),
    replace(CONFIG, stop_gradient=False),
    replace(CONFIG, action_step='gauss_newton', sync_kind='sweeps'),
    replace(CONFIG, spread_units=True),
    GraspAblationConfig(**asdict(CONFIG), keep=0.5, patience=9, free_final_time=True),
]


class Repeater:
    """Records as a CUDA graph does, on any device: replays run on the same memory."""

    def __init__(self):
        self.recorded = 0
        self.replayed = 0

    def __call__(self, function):
        outputs = function()
        self.recorded += 1

        def replay():
            self.replayed += 1
            for own, new in zip(outputs, function(), strict=True):
                own.copy_(new)

        return replay, outputs


class HostReadingModel(SmoothModelWithHead):
    """Its prediction waits for the device, which no graph can hold."""

    def predict(self, latents, actions):
        if float(latents.detach().sum()) > 1e9:
            return latents[:, -1]
        return super().predict(latents, actions)


def on_gpu(thing):
    """A toy model or a problem with all its tensors on the CUDA device."""
    moved = copy.copy(thing)
    for name, value in vars(thing).items():
        if isinstance(value, torch.Tensor):
            object.__setattr__(moved, name, value.cuda())
    if isinstance(thing, SmoothModelWithHead):
        moved.device = torch.device('cuda')
    return moved


def planner_of(model, config, executor=None):
    kind = GraspAblation if isinstance(config, GraspAblationConfig) else GraspPlanner
    return kind(model, config, executor=executor)


def solve_twice(planner, problem):
    generator = torch.Generator(planner.model.device).manual_seed(3)
    first = planner.plan(problem, generator=generator)
    return first, planner.plan(problem, first, generator=generator)


def assert_same(plans, others):
    for plan, other in zip(plans, others, strict=True):
        for name in ('actions', 'states', 'rollout', 'terminal_cost', 'defect'):
            torch.testing.assert_close(getattr(plan, name), getattr(other, name))


@pytest.mark.parametrize('config', CONFIGS)
@pytest.mark.parametrize('history', [1, 3])
def test_replayed_solves_equal_eager_ones(history, config):
    model = SmoothModelWithHead(history, (4,), 2)
    recorder = Repeater()
    planner = planner_of(model, config, Executor(recorder))
    problem = problem_for(model, 6)
    planner.prepare(problem)
    planner.prepare(problem_for(model, 4))
    assert planner.execution == Execution('cuda graph')
    recorded, replayed = recorder.recorded, recorder.replayed
    for other in (problem, problem_for(model, 6, seed=7), problem_for(model, 4, seed=8)):
        eager = solve_twice(planner_of(model, config), other)
        assert_same(solve_twice(planner, other), eager)
    assert recorder.recorded == recorded, 'nothing may be captured outside of prepare'
    iterations_and_rollouts = 3 * 2 * (config.iterations + 2)
    assert recorder.replayed - replayed >= iterations_and_rollouts


def test_all_of_a_problem_but_its_tensors_stays():
    problem = replace(problem_for(SmoothModelWithHead(3, (4,), 2), 6), frame_skip=2)
    doubled = with_tensors(problem, tuple(2 * tensor for tensor in tensors_of(problem)))
    for field in fields(PlanProblem):
        value, new = getattr(problem, field.name), getattr(doubled, field.name)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(new, 2 * value)
        else:
            assert new == value
    assert (doubled.frame_skip, doubled.horizon) == (2, 6)


def test_shapes_that_were_not_prepared_run_eagerly():
    model = SmoothModelWithHead(1, (4,), 2)
    recorder = Repeater()
    planner = GraspPlanner(model, CONFIG, executor=Executor(recorder))
    planner.prepare(problem_for(model, 6))
    replayed = recorder.replayed
    problem = problem_for(model, 5)
    assert_same(solve_twice(planner, problem), solve_twice(GraspPlanner(model, CONFIG), problem))
    assert recorder.replayed == replayed


def test_plans_are_not_overwritten_by_later_solves():
    model = SmoothModelWithHead(1, (4,), 2)
    planner = GraspPlanner(model, CONFIG, executor=Executor(Repeater()))
    problem = problem_for(model, 6)
    planner.prepare(problem)
    first = planner.plan(problem, generator=torch.Generator().manual_seed(1))
    kept = first.actions.clone(), first.states.clone(), first.rollout.clone()
    planner.plan(problem_for(model, 6, seed=9), generator=torch.Generator().manual_seed(2))
    for now, before in zip((first.actions, first.states, first.rollout), kept, strict=True):
        assert torch.equal(now, before)


def test_a_failed_capture_is_told_and_planning_goes_on(caplog):
    """Without a CUDA device capturing fails; with one, the model cannot be captured."""
    model = HostReadingModel(1, (4,), 2)
    problem = problem_for(model, 6)
    if torch.cuda.is_available():
        model, problem = on_gpu(model), on_gpu(problem)
    planner = GraspPlanner(model, CONFIG, executor=Executor(CudaGraphs()))
    with caplog.at_level(logging.WARNING):
        planner.prepare(problem)
    execution = planner.execution
    assert execution.mode == 'eager' and execution.failure
    assert str(execution) == f'eager: capture failed: {execution.failure}'
    assert Execution.parse(str(execution)) == execution
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'capturing the planner as a cuda graph failed' in caplog.text
    assert_same(solve_twice(planner, problem), solve_twice(GraspPlanner(model, CONFIG), problem))


def test_on_a_cpu_nothing_is_captured(caplog):
    model = SmoothModelWithHead(1, (4,), 2)
    planner = GraspPlanner(model, CONFIG)
    planner.prepare(problem_for(model, 6))
    assert planner.execution == Execution()
    assert Execution.parse('eager') == Execution()
    assert not caplog.records


def test_lower_precision_changes_little_and_only_the_iterations():
    model = SmoothModelWithHead(1, (4,), 2)
    problem = problem_for(model, 6)
    exact = GraspPlanner(model, CONFIG)
    rough = GraspPlanner(model, replace(CONFIG, precision='bfloat16'))
    plans = [solve_twice(planner, problem)[0] for planner in (exact, rough)]
    assert plans[1].actions.dtype == model.dtype
    torch.testing.assert_close(plans[0].terminal_cost, plans[1].terminal_cost, rtol=0.1, atol=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize('config', CONFIGS)
@pytest.mark.parametrize('history', [1, 3])
def test_cuda_graphs_equal_eager_solves(history, config):
    model = on_gpu(SmoothModelWithHead(history, (4,), 2))
    captured = planner_of(model, config)
    eager = planner_of(model, replace(config, capture=False))
    problem = on_gpu(problem_for(model, 6))
    captured.prepare(problem)
    assert captured.execution == Execution('cuda graph')
    assert_same(solve_twice(captured, problem), solve_twice(eager, problem))
    assert eager.execution == Execution()
