"""Every fault of the table, provoked with real processes: the reaction, and the recovery.

Times are for `make faults` to judge, on a machine that has some to spare.
"""

import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

import harness.ros_graph  # noqa: F401 - a domain of the test's own
from system.faults.bench import PlannerTestBench
from system.faults.command import main, run_scenario
from system.faults.report import FaultResult, write_report
from system.faults.scenarios import SCENARIOS
from system.faults.table import FAULTS

# Solves that are quick on a busy machine, too.
LIGHT = {
    'planner.horizon': 20,
    'grasp.iterations': 2,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
}
COMMAND = [sys.executable, '-m', 'system.faults.command']


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    with PlannerTestBench(tmp_path_factory.mktemp('faults'), values=LIGHT) as bench:
        yield bench


@pytest.mark.ros
@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.name)
def test_the_planner_reacts_and_recovers(bench, fault):
    result = run_scenario(bench, fault)
    assert not result.problem
    assert math.isfinite(result.reaction_s)
    assert result.recovered


def test_every_row_has_a_scenario_and_a_name_of_its_own():
    names = [fault.name for fault in FAULTS]
    assert sorted(SCENARIOS) == sorted(names)
    assert len(set(names)) >= 25


def test_a_reaction_in_time_with_recovery_is_ok_and_nothing_else(tmp_path):
    fault = next(fault for fault in FAULTS if fault.name == 'camera stops')
    assert fault.limit_s == pytest.approx(0.1 + 0.5 + 0.02)
    good = FaultResult(fault, 0.6, recovered=True)
    others = [
        FaultResult(fault, 0.63, recovered=True),
        FaultResult(fault, 0.6, recovered=False),
        FaultResult(fault, float('nan'), recovered=True),
        FaultResult(fault, 0.6, recovered=True, problem='command [nan, 0.0] is out of limits'),
    ]
    assert good.line().endswith(' ok')
    assert all('NOT OK' in result.line() for result in others)
    write_report(tmp_path / 'report.json', [good, *others])
    entries = json.loads((tmp_path / 'report.json').read_text())
    assert [entry['ok'] for entry in entries] == [True, False, False, False, False]
    assert entries[0] == {
        'fault': 'camera stops',
        'reaction': 'STALE_IMAGE: stop',
        'reaction_ms': 600.0,
        'limit_ms': 620.0,
        'recovered': True,
        'ok': True,
    }
    assert entries[3]['reaction_ms'] is None


def test_the_command_lists_faults_and_refuses_unknown_ones(capsys):
    assert main(['--list']) == 0
    assert capsys.readouterr().out.splitlines() == [fault.name for fault in FAULTS]
    with pytest.raises(SystemExit) as ended:
        main(['--only', 'camera stop', '--only', 'camra stops'])
    assert ended.value.code == 2
    assert "no fault has 'camra stops'" in (told := capsys.readouterr().err)
    assert "did you mean 'camera stops'?" in told


@pytest.mark.ros
def test_interrupted_it_leaves_no_process_behind(tmp_path):
    arguments = ['--only', 'camera stops', '--output', str(tmp_path)]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert 'Starting' in command.stdout.readline()
        wait_for(lambda: (tmp_path / 'planner_1.log').exists())
        time.sleep(1.0)
        command.send_signal(signal.SIGINT)
        assert command.wait(30.0) == 130
        assert 'Interrupted' in command.stderr.read()
    assert not processes_with(str(tmp_path))


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_with(argument):
    """Ids of processes that have `argument` on their command line."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_text().split('\0')
        except OSError:
            continue
        if argument in words:
            found.append(re.findall(r'\d+', str(path))[0])
    return found
