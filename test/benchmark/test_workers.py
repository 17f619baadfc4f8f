"""Cells side by side: the same by processes and by Ray."""

import os
import socket
import sys
import time

import pytest

from grasp_ros.benchmark.run.workers import map_cells


def ray():
    return pytest.importorskip('ray', reason="Ray is not installed (extra 'ray')")


@pytest.fixture(params=[None, pytest.param('local', marks=pytest.mark.slow)])
def address(request):
    if request.param is not None:
        ray()
    return request.param


def test_every_item_gets_its_result_as_soon_as_it_is_ready(address):
    """More items than workers, and the first takes longest."""
    items = ['__import__("time").sleep(1) or 0', *map(str, range(1, 6))]
    pairs = list(map_cells(eval, items, workers=2, ray_address=address))
    assert sorted(pairs) == [(i, i) for i in range(6)]
    assert pairs[0] != (0, 0)


def test_calls_are_made_in_as_many_other_processes_as_there_are_workers(address):
    items = ['__import__("time").sleep(0.1) or __import__("os").getpid()'] * 4
    processes = {pid for _, pid in map_cells(eval, items, workers=1, ray_address=address)}
    assert len(processes) == 1 and os.getpid() not in processes


@pytest.mark.parametrize('end', ['failure', 'leaving'])
def test_what_is_not_finished_is_dropped(address, end, tmp_path):
    slow = [
        f'__import__("time").sleep(0.2) or __import__("pathlib").Path({str(tmp_path)!r}, "{i}")'
        '.touch()'
        for i in range(30)
    ]
    cells = map_cells(eval, ['1', '1 / 0', *slow], workers=1, ray_address=address)
    assert next(cells) == (0, 1)
    if end == 'failure':
        with pytest.raises(ZeroDivisionError):
            next(cells)
    else:
        cells.close()
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) < 5
    assert list(map_cells(eval, ['2'], workers=1, ray_address=address)) == [(0, 2)]


def test_it_needs_workers():
    with pytest.raises(ValueError, match='at least 1, is 0'):
        next(map_cells(abs, [1], workers=0))


def test_it_says_at_once_that_there_is_no_cluster():
    ray()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match='ray start --head'):
        next(map_cells(abs, [1], workers=1, ray_address=f'127.0.0.1:{port}'))


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ImportError, match=r'grasp_ros\[ray\]'):
        next(map_cells(abs, [1], workers=1, ray_address='local'))
