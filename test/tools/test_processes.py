"""Child processes: do they log, end in time, and never outlive their parent?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grasp_ros.tools.demo.processes import Child, ChildDiedError

REPOSITORY = Path(__file__).parents[2]
OBEDIENT = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print('asked to end'), sys.exit(0)))
print('ready', *sys.argv[1:])
while True:
    time.sleep(0.05)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready')
while True:
    time.sleep(0.05)
"""
FAILING = "raise SystemExit('out of order')"
PARENT = """
import sys, time
from pathlib import Path
from grasp_ros.tools.demo.processes import Child
print(Child('child', 'child_module', [], Path(sys.argv[1])).pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that makes `child_module` a program."""
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{REPOSITORY}')
    return (tmp_path / 'child_module.py').write_text


@pytest.fixture
def start(tmp_path, write):
    children = []

    def start_child(program, *arguments):
        write(program)
        children.append(Child('child', 'child_module', arguments, tmp_path / 'child.log'))
        return children[-1]

    yield start_child
    for child in children:
        child.stop(timeout_s=0.1)


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen'
        time.sleep(0.02)


def alive(pid):
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_child_gets_its_arguments_and_logs_to_its_file(start, tmp_path):
    child = start(OBEDIENT, 'a', 'b')
    wait_for(lambda: 'ready a b' in (tmp_path / 'child.log').read_text())
    assert child.new_log_lines() == ['ready a b']
    assert child.new_log_lines() == []
    child.check()


def test_stopping_asks_first(start, tmp_path):
    child = start(OBEDIENT)
    wait_for(lambda: (tmp_path / 'child.log').read_text())
    child.stop()
    assert child.new_log_lines() == ['ready', 'asked to end']
    assert not alive(child.pid)
    child.stop()


def test_who_does_not_listen_is_killed(start, tmp_path, monkeypatch):
    monkeypatch.setattr('grasp_ros.tools.demo.processes.TERM_PATIENCE_S', 0.1)
    child = start(STUBBORN)
    wait_for(lambda: (tmp_path / 'child.log').read_text())
    child.stop(timeout_s=0.1)
    assert not alive(child.pid)
    with pytest.raises(ChildDiedError, match='child ended by SIGKILL'):
        child.check()


def test_a_dead_child_is_noticed_with_its_last_words(start):
    child = start(FAILING)

    def check_raises():
        try:
            child.check()
        except ChildDiedError:
            return True
        return False

    wait_for(check_raises)
    with pytest.raises(ChildDiedError, match=r'(?s)status 1.*out of order'):
        child.check()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs the kernel of Linux')
def test_a_child_does_not_outlive_a_parent_that_is_killed(write, tmp_path):
    write(OBEDIENT)
    log = tmp_path / 'child.log'
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT, str(log)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    wait_for(lambda: 'ready' in log.read_text())
    assert alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not alive(pid))
