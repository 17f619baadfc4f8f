"""Cells of a benchmark side by side: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')

CONNECT_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


def map_cells(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ray_address: str | None = None,
) -> Iterator[tuple[int, Result]]:
    """Call a function for every item, side by side; yields positions and results as they are ready.

    A failing call, Ctrl-C and closing the iterator end all other calls. The errors below come with
    the first result.

    Args:
        function: importable by name in other processes; with Ray, on every machine.
        items: its arguments.
        workers: calls at once; with Ray, on all machines together, each on one core.
        ray_address: `host:6379` of a Ray cluster, 'auto' for the one that this machine belongs to,
            'local' for a new one of this machine alone; None for processes without Ray.

    Raises:
        ValueError: if workers is less than 1.
        ImportError: if a Ray address is given and Ray is not installed.
        ConnectionError: if there is no Ray cluster at that address.
    """
    if workers < 1:
        raise ValueError(f'workers must be at least 1, is {workers}')
    if ray_address is None:
        yield from _by_processes(function, items, workers)
    else:
        yield from _by_ray(_connected(ray_address), function, items, workers)


def _by_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_signals) as pool:
        positions = {pool.submit(function, item): index for index, item in enumerate(items)}
        try:
            for future in as_completed(positions):
                yield positions[future], future.result()
        except BaseException:
            # Waiting for results that nobody will see could take minutes.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _leave_signals() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _connected(address: str) -> Any:
    """The module ray, connected."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "a Ray address needs Ray, which is not installed: pip install 'grasp_ros[ray]'"
        ) from error
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f'no Ray cluster at {address!r}: {error}; start one with `ray start --head`, and let '
            'other machines join with `ray start --address=HOST:6379`; if it asks for a token, set '
            'RAY_AUTH_MODE=token'
        ) from error
    return ray


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray tries for minutes and then ends the process."""
    host, _, port = address.rpartition(':')
    if host and '://' not in address:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()


def _by_ray(
    ray: Any, function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    call = ray.remote(_call)
    left = enumerate(items)
    running: dict[Any, int] = {}
    try:
        while True:
            for position, item in islice(left, workers - len(running)):
                running[call.remote(function, item)] = position
            if not running:
                return
            (ready,), _ = ray.wait(list(running))
            result = ray.get(ready)
            if isinstance(result, _Failure):
                _log.error('a call failed on the machine %s', result.host)
                raise result.error
            yield running.pop(ready), result
    finally:
        for handle in running:
            ray.cancel(handle, force=True)
        ray.shutdown()


@dataclass(frozen=True)
class _Failure:
    """What a call raised, and where: Ray itself would raise a whole traceback as one message."""

    error: Exception
    host: str


def _call(function: Callable[[Item], Result], item: Item) -> Result | _Failure:
    try:
        return function(item)
    except Exception as error:  # whatever it is, the caller raises it
        return _Failure(error, socket.gethostname())
