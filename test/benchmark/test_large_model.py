"""The benchmark of large models, on a small one."""

import json

import torch

from grasp_ros.benchmark.speed import large_model
from grasp_ros.benchmark.speed.large_model import solve_once
from harness.published import MODELS, build


def test_every_family_is_solved_in_chunks_as_at_once():
    for kind, config in MODELS:
        model = build(kind, config)
        rows = [solve_once(model, 6, 2, each) for each in (0, 4)]
        for row in rows:
            assert row['finite'] and row['iterations'] == 2
            assert row['latent_shape'] == list(model.latent_shape)
            assert row['peak_memory_mb'] > 0


def test_the_command_writes_a_row(tmp_path):
    output = tmp_path / 'row.json'
    threads = torch.get_num_threads()
    assert large_model.main(['--horizon', '4', '--output', str(output)], MODELS[0][1]) == 0
    torch.set_num_threads(threads)
    row = json.loads(output.read_text())['row']
    assert (row['horizon'], row['max_rows_per_call']) == (4, 5)
    assert large_model.main(['--model', str(tmp_path)]) == 2
