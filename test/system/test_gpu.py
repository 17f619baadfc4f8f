"""The GPU check: without a GPU it says so, a part that fails hides no other, wheels are slimmed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from system.gpu import command, parts
from system.gpu.command import CUT, FAILED, NOT_MEASURED, PARTS, PASSED, Part, install, run
from system.gpu.wheels import requirements, slim

ROOT = Path(__file__).resolve().parents[2]
WRITES = 'import json, sys; json.dump({"complete": True, "rows": [1]}, open(sys.argv[1], "w"))'
FAILS = 'raise RuntimeError("no luck")'
HANGS = (
    'import json, sys, time; json.dump({"complete": False, "rows": [1]}, open(sys.argv[1], "w")); '
    'time.sleep(60)'
)


def part(program, needs=(), budget_s=60.0):
    return Part(
        'toy', 'a toy', budget_s, needs, 'toy.json',
        lambda device, budget_s, output: ['-c', program, str(output)],
        lambda output: json.loads(output.read_text()),
    )  # fmt: skip


def result_of(part, folder, left_s=100.0, why_not='', missing=()):
    return run(
        part, Path(sys.executable), dict(os.environ), 'cpu', {'missing': list(missing)}, folder,
        left_s, why_not,
    )  # fmt: skip


def test_without_a_gpu_nothing_is_measured(tmp_path):
    report = tmp_path / 'gpu.json'
    done = subprocess.run(
        [sys.executable, '-m', 'system.gpu.command', '--work', str(tmp_path), '--output',
         str(report)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'nothing is measured: PyTorch' in done.stdout
    assert 'finds no CUDA device' in done.stdout
    found = json.loads(report.read_text())
    assert list(found['parts']) == [part.name for part in PARTS]
    for entry in found['parts'].values():
        assert entry['status'] == NOT_MEASURED
        assert 'no CUDA device' in entry['reason']


def test_a_report_of_a_gpu_is_not_overwritten_without_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    report = tmp_path / 'kept.json'
    report.write_text('{"gpu": "a fast one"}')
    assert command.main(['--work', str(tmp_path), '--output', str(report)]) == 0
    assert report.read_text() == '{"gpu": "a fast one"}'
    assert 'stays' in capsys.readouterr().out
    assert json.loads((tmp_path / 'gpu.json').read_text())['gpu'] == NOT_MEASURED


def test_the_committed_report_has_every_part():
    report = json.loads((ROOT / 'benchmark_results' / 'gpu.json').read_text())
    assert list(report['parts']) == [part.name for part in PARTS]


def test_every_test_that_needs_a_gpu_is_run():
    marked = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / 'test').rglob('test_*.py'))
        if 'pytest.mark.gpu' in path.read_text() and path != Path(__file__)
    ]
    assert list(command.TESTED) == marked


def test_all_parts_fit_into_the_time():
    assert sum(part.budget_s + command.GRACE_S for part in PARTS) <= command.MAX_SECONDS - 25


def test_what_a_part_found_is_its_entry(tmp_path):
    entry = result_of(part(WRITES), tmp_path)
    assert (entry['status'], entry['rows']) == (PASSED, [1])


def test_a_part_that_fails_says_why(tmp_path):
    assert result_of(part(WRITES), tmp_path)['status'] == PASSED
    entry = result_of(part(FAILS), tmp_path)
    assert entry['status'] == FAILED
    assert 'RuntimeError: no luck' in entry['reason']
    assert 'rows' not in entry, 'what an earlier run found is forgotten'


def test_a_part_that_hangs_is_ended_and_keeps_what_it_found(tmp_path, monkeypatch):
    monkeypatch.setattr(command, 'GRACE_S', 0.5)
    entry = result_of(part(HANGS, budget_s=8.0), tmp_path)
    assert (entry['status'], entry['rows']) == (CUT, [1])
    assert entry['seconds'] < 30


@pytest.mark.parametrize(
    ('settings', 'reason'),
    [
        ({'missing': ['rclpy']}, 'not here: rclpy'),
        ({'left_s': 1.0}, 'no time was left'),
        ({'why_not': 'no GPU'}, 'no GPU'),
    ],
)
def test_what_cannot_run_is_not_measured(tmp_path, settings, reason):
    entry = result_of(part(FAILS, needs=('rclpy',)), tmp_path, **settings)
    assert entry == {'status': NOT_MEASURED, 'reason': reason}


@pytest.mark.parametrize('name', parts.PARTS)
def test_parts_measure_on_a_cpu(tmp_path, monkeypatch, name):
    """As far as the first rows, with as little as possible; a GPU does all."""
    monkeypatch.setattr(parts, 'EPISODES', 1)
    monkeypatch.setattr(parts, 'TRAINED_EPISODES', 8)
    monkeypatch.setattr(parts, 'TRAINED_ITERATIONS', 2)
    monkeypatch.setattr(parts, 'TIMED_SOLVES', 1)
    monkeypatch.setattr(parts.suite, 'SOLVES', 2)
    output = tmp_path / 'part.json'
    budget = 60 if name == 'closed_loop' else 0
    parts.main([name, '--device', 'cpu', '--budget', str(budget), '--output', str(output)])
    found = json.loads(output.read_text())
    assert found['rows']
    assert found['complete'] == (name == 'closed_loop')
    if name == 'closed_loop':
        assert [row['task'] for row in found['rows']] == ['two_room', 'push_t']
        assert all(row['episodes'] == 1 and row['device'] == 'cpu' for row in found['rows'])
    elif name == 'plans':
        assert found['rows'][0]['action_difference'] == 0.0
        assert not found['faults']


def test_requirements_are_those_of_the_package():
    text = 'numpy==2\npydantic==2.1  # a comment\npymunk==7\nros-kilted-rclpy==9\nruff==0.1\n'
    assert requirements(text, ros=False) == ['pydantic==2.1', 'pymunk==7']
    assert requirements(text, ros=True)[-1] == 'ros-kilted-rclpy==9'
    named = requirements((ROOT / 'requirements.txt').read_text(), ros=True)
    assert any(line.startswith('ros-kilted-rclpy') for line in named)


def wheel(folder, name, files):
    folder.mkdir(exist_ok=True)
    path = folder / f'{name}-1.0-py3-none-any.whl'
    information = {
        f'{name}-1.0.dist-info/METADATA': f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n',
        f'{name}-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\n'
                                       'Tag: py3-none-any\n',
    }  # fmt: skip
    with zipfile.ZipFile(path, 'w') as archive:
        for file, content in {**files, **information}.items():
            archive.writestr(file, content)
        rows = [f'{file},,\n' for file in archive.namelist()]
        archive.writestr(f'{name}-1.0.dist-info/RECORD', ''.join(rows))
    return path


def test_slim_wheels_keep_what_runs_once(tmp_path):
    library = b'\0libfast.so.3\0 and code'
    files = {
        'fast/__init__.py': 'ANSWER = 42\n',
        'fast/__pycache__/__init__.cpython-312.pyc': b'bytes',
        'fast-1.0.data/data/include/fast.h': 'a header',
        'fast-1.0.data/data/lib/libfast.so': library,
        'fast-1.0.data/data/lib/libfast.so.3': library,
        'fast-1.0.data/data/lib/libfast.so.3.1': library,
        'fast.libs/libcrypto-1.so': b'crypto',
    }
    output, known = tmp_path / 'slim', set()
    output.mkdir()
    slim(wheel(tmp_path / 'fat', 'fast', files), output, known)
    slim(wheel(tmp_path / 'fat', 'other', {'other.libs/libcrypto-1.so': b'crypto'}), output, known)
    with zipfile.ZipFile(output / 'fast-1.0-py3-none-any.whl') as archive:
        kept = [name for name in archive.namelist() if 'dist-info' not in name]
        assert sorted(kept) == [
            'fast-1.0.data/data/lib/libfast.so.3', 'fast.libs/libcrypto-1.so', 'fast/__init__.py',
        ]
        assert 'fast.h' not in archive.read('fast-1.0.dist-info/RECORD').decode()
    with zipfile.ZipFile(output / 'other-1.0-py3-none-any.whl') as archive:
        assert not [name for name in archive.namelist() if name.endswith('.so')]

    python = install(output, tmp_path / 'venv')
    program = 'import fast, torch, pathlib, sys; print(fast.ANSWER, sys.prefix)'
    done = subprocess.run([python, '-c', program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['42', str(tmp_path / 'venv')]
    assert (tmp_path / 'venv/lib/libfast.so.3').is_file()


def test_a_folder_without_wheels_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no \*\.whl'):
        install(tmp_path, tmp_path / 'venv')
