"""The command `gpu-check`: all that needs a GPU, in at most eight minutes, and a report of it.

Each part runs in a process of its own within its time; one that fails hides no other. This file
needs nothing but Python: what the parts need may come as wheels (see docs/gpu.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grasp_ros.machine import machine, versions

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / 'grasp_ros'
NOT_MEASURED, PASSED, FAILED, CUT = 'not measured', 'passed', 'failed', 'cut short'
MAX_SECONDS = 480.0
GRACE_S = 5.0
"""For a part to end by itself once its time is over."""
CUT_SHORT = 3
"""Exit status of a part whose time ran out before it had done all."""
NODE_START_S = 35.0
"""Of the node's part, for processes to start, configure and end."""
TESTED = (
    'test/models/test_cuda.py',
    'test/models/test_fast_kernels.py',
    'test/planning/test_cuda_graphs.py',
)
"""Files with tests marked `gpu`; no other is read, as they need more than there may be."""

PROBE = """
import importlib.util, json, sys
found = {'missing': [name for name in sys.argv[1:] if not importlib.util.find_spec(name)]}
try:
    import torch
    found['torch'] = torch.__version__
    if torch.cuda.is_available():
        one = torch.cuda.get_device_properties(0)
        found['gpu'] = (
            f'{one.name}, {one.total_memory / 2**30:.0f} GiB, compute capability '
            f'{one.major}.{one.minor}, CUDA {torch.version.cuda}'
        )
except ImportError as error:
    found['error'] = str(error)
print(json.dumps(found))
"""

Report = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        name: in the report.
        title: for people.
        budget_s: seconds that it may take.
        needs: modules without which it is not measured.
        output: file that it writes, in the folder for results.
        arguments: of Python, from the device, the seconds and that file.
        read: what is in that file.
    """

    name: str
    title: str
    budget_s: float
    needs: tuple[str, ...]
    output: str
    arguments: Callable[[str, float, Path], list[str]]
    read: Callable[[Path], Report]


def _measured(name: str, title: str, budget_s: float, needs: tuple[str, ...] = ()) -> Part:
    """A part of `parts.py`."""
    return Part(
        name,
        title,
        budget_s,
        ('pydantic', 'yaml', 'safetensors', 'scipy', 'tqdm', 'PIL', 'cv2', *needs),
        f'{name}.json',
        lambda device, budget_s, output: [
            '-m', 'system.gpu.parts', name, '--device', device, '--budget', f'{budget_s:g}',
            '--output', str(output),
        ],
        lambda output: json.loads(output.read_text()),
    )  # fmt: skip


def _test(device: str, budget_s: float, output: Path) -> list[str]:
    return [
        '-m', 'pytest', '-q', '-m', 'gpu', '-p', 'no:cacheprovider', '--tb', 'short',
        '--junitxml', str(output), *TESTED,
    ]  # fmt: skip


def _read_tests(output: Path) -> Report:
    suite = next(ElementTree.parse(output).iter('testsuite'))
    failed = [
        f'{case.get("classname")}.{case.get("name")}'
        for case in suite.iter('testcase')
        if case.find('failure') is not None or case.find('error') is not None
    ]
    counts = {name: int(suite.get(name, 0)) for name in ('tests', 'failures', 'errors', 'skipped')}
    return {**counts, 'faults': failed}


def _drive_node(device: str, budget_s: float, output: Path) -> list[str]:
    seconds = max(5.0, budget_s - NODE_START_S)
    return [
        '-m', 'system.soak.command', '--rate', '20', '--duration', f'{seconds:g}', '--device',
        device, '--output', str(output.parent),
    ]  # fmt: skip


def _read_node(output: Path) -> Report:
    """What the soak says, but for the growth of memory, which takes longer to judge."""
    report = json.loads(output.read_text())
    kept = (
        'control_rate', 'ticks', 'replans', 'goals', 'goals_reached', 'device',
        'execution', 'image_to_command_ms', 'solve_time_ms', 'jitter_ms', 'receiver_jitter_ms',
        'prediction_error', 'memory_mib', 'cores',
    )  # fmt: skip
    checks = {check['name']: check for check in report['checks']}
    del checks['memory growth']
    faults = [f'{name}: {check["value"]}' for name, check in checks.items() if not check['ok']]
    return {
        **{name: report[name] for name in kept},
        'missed_share': checks['missed deadlines']['value'],
        'faults': [*faults, *filter(None, [report['crash'].partition('\n')[0]])],
    }


PARTS = (
    Part(
        'tests', 'CUDA tests', 60, ('pydantic', 'pytest', 'hypothesis'), 'tests.xml', _test,
        _read_tests,
    ),
    _measured('plans', 'captured against eager plans', 65),
    _measured('speed', 'speed rows', 115),
    _measured('closed_loop', 'closed-loop success on the GPU', 70, ('pymunk',)),
    _measured('training', 'a training phase', 40),
    Part(
        'node', 'the node over DDS at 20 Hz', 75,
        ('pydantic', 'rclpy', 'grasp_ros.msg', 'matplotlib'), 'node/report.json', _drive_node,
        _read_node,
    ),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; exit status 1 where a part failed, 0 where all held or there is no GPU."""
    began = time.monotonic()
    options = _parse(arguments)
    folder = options.work
    folder.mkdir(parents=True, exist_ok=True)
    python, wheels = Path(sys.executable), ''
    if options.wheels is not None:
        try:
            python = install(options.wheels, folder / 'venv')
        except (OSError, subprocess.CalledProcessError) as error:
            wheels = f'the wheels of {options.wheels} could not be installed: {_reason(error)}'
            print(f'gpu-check: {wheels}', flush=True)
    environment = _environment(python)
    found = probe(python, environment)
    report: Report = {
        'command': 'make gpu-check',
        'gpu': found.get('gpu', NOT_MEASURED),
        'device': options.device,
        'machine': machine(),
        'versions': {**versions(), 'torch': found.get('torch')},
        'wheels': wheels or (options.wheels.name if options.wheels else None),
        'parts': {},
    }
    chosen = [part for part in PARTS if not options.only or part.name in options.only]
    why = _without_gpu(found) if options.device.startswith('cuda') else ''
    if why:
        print(f'gpu-check: nothing is measured: {why}')
        if _was_measured(options.output):
            print(f'gpu-check: {options.output} was measured on a GPU and stays')
            options.output = folder / 'gpu.json'
    for part in chosen:
        left = MAX_SECONDS - (time.monotonic() - began)
        report['parts'][part.name] = one = run(
            part, python, environment, options.device, found, folder, left, why
        )
        if not why:
            print(_line(part, one), flush=True)
        report['seconds'] = round(time.monotonic() - began, 1)
        _write(options.output, report)
    print(f'gpu-check: wrote {options.output}')
    return int(any(one['status'] == FAILED for one in report['parts'].values()))


def run(
    part: Part,
    python: Path,
    environment: dict[str, str],
    device: str,
    found: Report,
    folder: Path,
    left_s: float,
    why_not: str,
) -> Report:
    """Run one part.

    Args:
        part: to run.
        python: that runs it.
        environment: of its process.
        device: as PyTorch names it.
        found: by `probe`.
        folder: for logs and results.
        left_s: seconds left of all.
        why_not: reason to run nothing; empty to run.

    Returns:
        Its entry in the report.
    """
    missing = [name for name in part.needs if name in found['missing']]
    budget_s = min(part.budget_s, left_s - GRACE_S)
    if not why_not and missing:
        why_not = f'not here: {", ".join(missing)}'
    if not why_not and budget_s < GRACE_S:
        why_not = 'no time was left'
    if why_not:
        return {'status': NOT_MEASURED, 'reason': why_not}
    log = folder / f'{part.name}.log'
    began = time.monotonic()
    output = folder.resolve() / part.output
    output.unlink(missing_ok=True)
    command = [str(python), *part.arguments(device, budget_s, output)]
    status = _finish(command, environment, log, budget_s + GRACE_S)
    entry = {'seconds': round(time.monotonic() - began, 1), 'budget_s': part.budget_s}
    try:
        content = part.read(output) if output.is_file() else {}
    except (ValueError, KeyError, ElementTree.ParseError) as error:
        content = {'faults': [f'its results cannot be read: {error!r}']}
    faults = content.pop('faults', [])
    complete = content.pop('complete', True)
    if faults or status not in (0, None, CUT_SHORT):
        reason = '; '.join(faults) or f'exit status {status}: {_last_line(log)}'
        return {'status': FAILED, 'reason': reason, **entry, **content}
    if status is None or status == CUT_SHORT or not complete:
        return {'status': CUT, 'reason': f'{part.budget_s:g} s were over', **entry, **content}
    return {'status': PASSED, **entry, **content}


def _finish(
    command: list[str], environment: dict[str, str], log: Path, limit_s: float
) -> int | None:
    """Exit status of a process; None where it was ended, with all that it had started."""
    with log.open('wb') as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                # Children in sessions of their own end with their parent.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def install(wheels: Path, folder: Path) -> Path:
    """An environment with what the present Python has, and wheels before it; its Python.

    Raises:
        OSError: if there are no wheels.
        subprocess.CalledProcessError: if they cannot be installed.
    """
    found = sorted(map(str, wheels.resolve().glob('*.whl')))
    if not found:
        raise FileNotFoundError(f'no *.whl in {wheels}')

    def call(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, '-m', *arguments], check=True, capture_output=True, text=True
        )

    call('venv', '--clear', '--without-pip', str(folder))
    python = folder.resolve() / 'bin' / 'python'
    packages = next((folder / 'lib').glob('python3*/site-packages'))
    # Not --system-site-packages: the present Python may be that of an environment itself.
    own = [path for path in sys.path if path.endswith(('site-packages', 'dist-packages'))]
    lines = [f'import site; site.addsitedir({path!r})' for path in own]
    (packages / 'present.pth').write_text('\n'.join(lines) + '\n')
    call(
        'pip', '--disable-pip-version-check', '--python', str(python), 'install', '-q',
        '--no-index', '--no-deps', '--no-compile', '--force-reinstall', *found,
    )  # fmt: skip
    _take_messages(packages / 'grasp_ros')
    return python


def _take_messages(carried: Path) -> None:
    """Put built messages into this checkout, which has none before `make setup`."""
    if not (carried / 'msg').is_dir():
        return
    for kind in ('msg', 'action'):
        shutil.copytree(carried / kind, PACKAGE / kind, dirs_exist_ok=True)
    for library in carried.glob('*.so'):
        shutil.copy2(library, PACKAGE)
    shutil.rmtree(carried)


def probe(python: Path, environment: dict[str, str]) -> Report:
    """GPU, PyTorch, and which modules that parts need are missing."""
    needed = sorted({name for part in PARTS for name in part.needs})
    done = subprocess.run(
        [str(python), '-c', PROBE, *needed],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        return {'missing': needed, 'error': (done.stderr.strip().splitlines() or [''])[-1]}
    found: Report = json.loads(done.stdout)
    return found


def _without_gpu(found: Report) -> str:
    """Why there is no GPU; empty where there is one."""
    if 'torch' not in found:
        return f'there is no PyTorch: {found.get("error", "")}'
    if 'gpu' not in found:
        return f'PyTorch {found["torch"]} finds no CUDA device'
    return ''


def _environment(python: Path) -> dict[str, str]:
    """For parts: both packages are found, and nothing of another environment leaks in."""
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    paths = [str(ROOT / 'test'), str(ROOT)]
    environment['PYTHONPATH'] = os.pathsep.join(
        [*paths, *filter(None, [environment.get('PYTHONPATH')])]
    )
    if python != Path(sys.executable):
        environment['AMENT_PREFIX_PATH'] = str(python.parents[1])
        if environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None):
            environment.pop('LD_LIBRARY_PATH', None)
    environment.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    environment.setdefault('ROS_DOMAIN_ID', str(os.getpid() % 101 + 1))
    return environment


def _write(path: Path, report: Report) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + '\n')


def _was_measured(report: Path) -> bool:
    """Whether there is a report of a GPU already."""
    return report.is_file() and json.loads(report.read_text()).get('gpu') != NOT_MEASURED


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return (str(error.stderr).strip().splitlines() or [str(error)])[-1]
    return str(error)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors='replace').splitlines() if line.strip()]
    return lines[-1].strip() if lines else 'it said nothing'


def _line(part: Part, entry: Report) -> str:
    took = f' after {entry["seconds"]:.0f} s' if 'seconds' in entry else ''
    why = f': {entry["reason"]}' if 'reason' in entry else ''
    return f'{part.title}: {entry["status"]}{took}{why}'


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='gpu-check', description=__doc__)
    parser.add_argument('--wheels', type=Path, metavar='FOLDER', help='install what is in it first')
    parser.add_argument(
        '--only', action='append', choices=[part.name for part in PARTS], help='this part, and ..'
    )
    parser.add_argument(
        '--device', default='cuda', help='cpu tries the parts where there is no GPU'
    )
    parser.add_argument('--work', type=Path, default=Path('out/gpu'), help='default out/gpu')
    parser.add_argument('--output', type=Path, help='default benchmark_results/gpu.json, or in '
                        'the folder of --work where not all is measured on a GPU')  # fmt: skip
    options = parser.parse_args(arguments)
    if options.output is None:
        whole = options.device.startswith('cuda') and not options.only
        options.output = ROOT / 'benchmark_results/gpu.json' if whole else (
            options.work / 'gpu.json'
        )
    return options


if __name__ == '__main__':
    sys.exit(main())
