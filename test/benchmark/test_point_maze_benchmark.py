"""The benchmark of the point maze, and the model that comes with the package."""

import json
from pathlib import Path

import numpy as np
import pytest

from grasp_ros.benchmark.point_maze import measure, open_loop, table
from grasp_ros.models.checkpoint import PRETRAINED, load_model, read_manifest
from grasp_ros.sim.point_maze.world import PointMaze, collect_mass_motion

MODEL = PRETRAINED / 'point_maze'
COMMITTED = Path(__file__).parents[2] / 'benchmark_results' / 'point_maze.json'


def test_the_model_reaches_a_goal_and_holds_it():
    found = measure(MODEL, [1001])
    assert found['success']['reached'] == found['success']['episodes'] == 1
    (row,) = found['rows']
    assert row['steps'] <= row['budget'] and row['final_distance_px'] < 5.0


def test_imagination_is_judged_by_what_really_happened():
    model, manifest = load_model(MODEL)
    world = PointMaze()
    motion = collect_mass_motion(world, 20, 20, np.random.default_rng(3))
    errors = open_loop(model, manifest, world, motion)
    assert errors['0'] < errors['20'] < 4.0
    wrong = type(motion)(motion.states, -motion.accelerations)
    assert open_loop(model, manifest, world, wrong)['20'] > 2 * errors['20']


def test_the_committed_figures_are_of_the_committed_model():
    content = json.loads(COMMITTED.read_text())
    assert content['with']['weights_sha256'] == read_manifest(MODEL).weights_sha256
    for name in ('with', 'without'):
        rows = content[name]['rows']
        assert [row['seed'] for row in rows] == list(range(1000, 1060))
        assert sum(row['reached'] for row in rows) == content[name]['success']['reached']
    text = table(content)
    for name in ('with', 'without'):
        assert f'{content[name]["success"]["reached"]} of 60' in text


def test_what_the_model_feels_is_in_its_manifest():
    manifest = read_manifest(MODEL)
    assert manifest.inputs.names == ('camera', 'proprioception')
    assert manifest.action.kind == 'effort'
    assert manifest.inputs.proprioception.std == pytest.approx([0.35, 0.35], abs=0.1)
