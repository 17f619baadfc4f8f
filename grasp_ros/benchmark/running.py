"""Cells in worker processes, with a progress bar; what is finished is kept."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from typing import Any, TypeVar

from tqdm import tqdm

from grasp_ros.benchmark.cache import Cache
from grasp_ros.benchmark.cells import Cell

Result = TypeVar('Result')


def run_all(
    kind: str,
    function: Callable[[Cell], Result],
    decode: Callable[[Mapping[str, Any]], Result],
    cells: Sequence[Cell],
    cache: Cache,
    workers: int,
    **more: Any,
) -> Iterator[tuple[int, Result]]:
    """Positions and results of cells as they come, those that the cache knows first.

    Args:
        kind: of result, names it in the cache and in the progress bar.
        function: makes a result, in a worker process.
        decode: makes a result from its fields in JSON.
        cells: to run.
        cache: keeps results.
        workers: processes.
        more: what results depend on beside the cell.
    """
    missing = []
    with tqdm(total=len(cells), desc=kind, unit='cell') as bar:
        for position, cell in enumerate(cells):
            known = cache.get(kind, cell, more)
            if known is None:
                missing.append(position)
                continue
            bar.update()
            yield position, decode(known)
        for index, result in map_cells(
            function, [cells[position] for position in missing], workers=workers
        ):
            cell = cells[missing[index]]
            cache.put(kind, cell, more, asdict(result))  # type: ignore[call-overload]
            bar.set_postfix_str(cell.title)
            bar.update()
            yield missing[index], result


def map_cells(
    function: Callable[[Cell], Result], cells: Sequence[Cell], *, workers: int
) -> Iterator[tuple[int, Result]]:
    """Positions and results of `function` in worker processes, as they are ready."""
    if not cells:
        return
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_signals) as pool:
        futures = {pool.submit(function, cell): index for index, cell in enumerate(cells)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            # Waiting for cells that nobody will see could take minutes.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _leave_signals() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
