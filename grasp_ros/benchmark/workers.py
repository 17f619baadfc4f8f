"""Cells of a benchmark side by side: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')

CONNECT_TIMEOUT_S = 5.0


def map_cells(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ray_address: str | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Call a function for every item, side by side, and yield in the order of the items.

    What has not begun is dropped when a call fails, at Ctrl-C, and when the iterator is closed.
    The errors below come with the first result.

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
) -> Iterator[tuple[Item, Result]]:
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        futures = [(item, pool.submit(function, item)) for item in items]
        try:
            for item, future in futures:
                yield item, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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
            'other machines join with `ray start --address=HOST:6379`'
        ) from error
    return ray


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray tries for minutes and then ends the process."""
    host, _, port = address.rpartition(':')
    if host and '://' not in address:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()


def _by_ray(
    ray: Any, function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    call = ray.remote(_call)
    pending: deque[tuple[Item, Any]] = deque()
    running: list[Any] = []
    try:
        for item in items:
            if len(running) == workers:
                _, running = ray.wait(running)
            handle = call.remote(function, item)
            pending.append((item, handle))
            running.append(handle)
            while pending[0][1] not in running:
                item, handle = pending.popleft()
                yield item, ray.get(handle)
        while pending:
            item, handle = pending.popleft()
            yield item, ray.get(handle)
    finally:
        for _, handle in pending:
            ray.cancel(handle)
        ray.shutdown()


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
