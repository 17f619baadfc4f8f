"""Speed rows compare the same computation, and count what it takes."""

import math
from dataclasses import asdict

import pytest
import torch

from grasp_ros.benchmark.speed import suite as speed_suite
from grasp_ros.benchmark.speed.iteration import Contest, measure_iteration
from grasp_ros.benchmark.speed.references import (
    MlpPredictor,
    PatchPredictor,
    Peak,
    counted_bytes,
    counted_flops,
    floor_ms,
)
from grasp_ros.benchmark.tables.plots import plot_speed
from grasp_ros.benchmark.tables.tables import speed_table
from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.planning.objective import goal_distance
from harness.toy_models import LinearModel


@pytest.fixture(autouse=True)
def fixed_weights():
    torch.manual_seed(0)


def small_patches():
    return PatchPredictor(
        patches=4, width=24, depth=2, heads=2, head_width=8, hidden=16, action_dim=3
    )


def row_of(model, **settings):
    distance = goal_distance(model, 'latent')
    return measure_iteration('toy', distance, 3, 2, seconds=0.0, **settings)


@pytest.mark.parametrize('make', [small_patches, lambda: MlpPredictor(8, 2, 3), LinearModel])
def test_a_row_is_of_one_computation_done_in_two_ways(make):
    row = row_of(make())
    assert (row.horizon, row.candidates, row.execution, row.device) == (3, 2, 'eager', 'cpu')
    assert row.loss_difference < 1e-5
    assert row.ratio == pytest.approx(row.per_step_loop_ms / row.iteration_ms, rel=0.05)
    first, third = row.iteration_quartiles_ms
    assert 0 < first <= row.iteration_ms <= third


def test_the_work_of_a_linear_layer_is_known():
    """One layer of 8 x (8 + 3), forward and backward through it, for two steps of one row."""
    model = MlpPredictor(8, blocks=0, action_dim=3)
    contest = Contest(goal_distance(model, 'latent'), 2, 1, 1.0, 'float32', seed=0)
    assert counted_flops(contest.batched()) == 2 * 2 * (2 * 8 * 11)
    assert counted_flops(contest.loop) == 2 * 2 * (2 * 8 * 11)
    weights = 4 * (8 * 11 + 8)
    variables = 4 * (2 * 8 + 2 * 3)
    assert counted_bytes([model], [contest.states, contest.actions]) == 2 * weights + 7 * variables


def test_fast_kernels_are_counted_like_others():
    model = CompactModel(CompactConfig()).requires_grad_(False)
    distance = goal_distance(model, 'latent')
    small, large = (
        counted_flops(Contest(distance, horizon, 1, 1.0, 'float32', seed=0).batched())
        for horizon in (1, 100)
    )
    assert large == 100 * small


def test_the_floor_is_the_longer_of_computing_and_moving():
    assert floor_ms(3_000_000, 1, Peak(flops=1e9, bytes=1e9)) == pytest.approx(3.0)
    assert floor_ms(1, 5_000_000, Peak(flops=1e9, bytes=1e9)) == pytest.approx(5.0)


def test_patches_see_no_later_frame():
    """The prediction is of the newest frame; only a mask keeps older tokens from seeing it."""
    model = small_patches()
    latents, actions = torch.randn(1, 3, 4, 24), torch.randn(1, 3, 3)
    assert model.predict(latents, actions).shape == (1, 4, 24)
    sees = model.sees.view(3, 4, 3, 4)
    assert sees[2].all()
    assert not sees[0, :, 1:].any()


def test_lower_precision_is_said():
    assert row_of(MlpPredictor(8, 1, 3), precision='bfloat16').precision == 'bfloat16'
    with pytest.raises(ValueError, match='execution'):
        row_of(MlpPredictor(8, 1, 3), execution='magic')


def test_rows_become_a_table_and_a_plot(tmp_path):
    model = CompactModel(CompactConfig(hidden=16)).requires_grad_(False)
    solve = speed_suite.full_solve('toy', model, horizon=4)
    assert solve['execution'] == 'eager'
    assert math.isfinite(solve['solve_ms'])
    rows = [asdict(row_of(model)), solve, *speed_suite.not_measured('toy')]
    text = speed_table(rows)
    assert 'A full solve of toy on cpu (eager, T = 4' in text
    assert 'Not measured: toy on cuda, T = 50' in text
    plot_speed(tmp_path / 'speed.png', rows)
    assert (tmp_path / 'speed.png').stat().st_size > 1000
