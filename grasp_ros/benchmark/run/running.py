"""Cells in processes or on a cluster, with a progress bar; what is finished is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from tqdm import tqdm

from grasp_ros.benchmark.run.cache import Cache
from grasp_ros.benchmark.run.cells import Cell
from grasp_ros.benchmark.run.workers import map_cells

Result = TypeVar('Result')


def run_all(
    kind: str,
    function: Callable[[Cell], Result],
    decode: Callable[[Mapping[str, Any]], Result],
    cells: Sequence[Cell],
    cache: Cache,
    workers: int,
    ray_address: str | None = None,
    **more: Any,
) -> Iterator[tuple[int, Result]]:
    """Positions and results of cells as they come, those that the cache knows first.

    Args:
        kind: of result, names it in the cache and in the progress bar.
        function: makes a result, in another process.
        decode: makes a result from its fields in JSON.
        cells: to run.
        cache: keeps results.
        workers: processes, or calls at once on a Ray cluster.
        ray_address: of that cluster, see `map_cells`; None for processes of this machine.
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
        cells_left = [cells[position] for position in missing]
        for index, result in map_cells(
            function, cells_left, workers=workers, ray_address=ray_address
        ):
            cell = cells_left[index]
            cache.put(kind, cell, more, asdict(result))  # type: ignore[call-overload]
            bar.set_postfix_str(cell.title)
            bar.update()
            yield missing[index], result
