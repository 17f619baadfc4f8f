"""Cells on all cores or machines, each kept in a cache, and the options of how they are run."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from grasp_ros.benchmark.run.cells import Cell, CellResult, decode_result
from grasp_ros.benchmark.run.timing import Timing, decode_timing
from grasp_ros.benchmark.run.variants import resolved
from grasp_ros.benchmark.tables.results import RowData, RowKey, gather, key_of
from grasp_ros.models.checkpoint import read_manifest

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
    """Error of a call, and its machine: Ray itself would raise a whole traceback as one message."""

    error: Exception
    host: str


def _call(function: Callable[[Item], Result], item: Item) -> Result | _Failure:
    try:
        return function(item)
    except Exception as error:  # whatever it is, the caller raises it
        return _Failure(error, socket.gethostname())


Executor = Callable[..., Iterator[tuple[int, Any]]]
"""Calls a function for every item, as `map_cells` does."""


class Cache:
    """One JSON file for each result, named by what it is a result of."""

    def __init__(
        self, folder: Path, resume: bool, digest: Callable[[str], str] | None = None
    ) -> None:
        """Keep results in `folder`; without `resume` those of earlier runs are not read.

        Args:
            folder: of the files.
            resume: whether to read what is there.
            digest: tells models apart; None for the SHA-256 of their weights.
        """
        self._digest = digest or weights_digest
        self._folder = folder
        self._resume = resume
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, kind: str, cell: Cell, more: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result of that kind kept for a cell, or None; a damaged file is none."""
        if not self._resume:
            return None
        try:
            found = json.loads(self._path(kind, cell, more).read_text())
        except (OSError, ValueError):
            return None
        result = found.get('result')
        return result if isinstance(result, dict) else None

    def put(
        self, kind: str, cell: Cell, more: Mapping[str, Any], result: Mapping[str, Any]
    ) -> None:
        """Keep a result of that kind for a cell; `more` is what it depends on beside the cell."""
        path = self._path(kind, cell, more)
        content = {'of': self._identity(kind, cell, more), 'result': result}
        partial = path.with_suffix('.part')
        partial.write_text(json.dumps(content, indent=1) + '\n')
        partial.replace(path)

    def _path(self, kind: str, cell: Cell, more: Mapping[str, Any]) -> Path:
        text = json.dumps(self._identity(kind, cell, more), sort_keys=True)
        return self._folder / f'{hashlib.sha256(text.encode()).hexdigest()[:24]}.json'

    def _identity(self, kind: str, cell: Cell, more: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides a result but the code: the planner's resolved options, the weights."""
        identity = asdict(cell) | {'kind': kind, **more}
        identity['options'] = asdict(resolved(cell.planner, cell.options))
        identity['model'] = self._digest(cell.model)
        return identity


def weights_digest(model: str) -> str:
    """SHA-256 of the weights of the model in a folder."""
    return read_manifest(Path(model)).weights_sha256


def run_all(
    kind: str,
    function: Callable[[Cell], Result],
    decode: Callable[[Mapping[str, Any]], Result],
    cells: Sequence[Cell],
    cache: Cache,
    workers: int,
    ray_address: str | None = None,
    execute: Executor = map_cells,
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
        execute: calls `function` for each cell that the cache does not know.
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
        for index, result in execute(
            function, cells_left, workers=workers, ray_address=ray_address
        ):
            cell = cells_left[index]
            cache.put(kind, cell, more, asdict(result))
            bar.set_postfix_str(cell.title)
            bar.update()
            yield missing[index], result


def add_running(parser: argparse.ArgumentParser, output: Path) -> None:
    """Add the options that every comparison has: how it is run, and where results go."""
    add = parser.add_argument
    add('--fixed-horizon', action='store_true', help='do not let the horizon shrink')
    add('--tuning-seeds', action='store_true',
        help='run the comparison on the tuning seeds, to choose what is on by default')
    add('--workers', type=int, default=2, help='processes that measure success; default 2')
    add('--ray', metavar='ADDRESS',
        help='measure success on the Ray cluster at HOST:6379 (or auto, local), where --workers '
        'are calls at once and the models lie in the same folders; times are measured here')
    add('--resume', action='store_true', help='take finished cells from OUTPUT/cache')
    add('--output', type=Path, default=output, help=f'folder; default {output}')


class Measurement:
    """Measures cells and keeps what it finds."""

    def __init__(
        self,
        cells: Sequence[Cell],
        cache: Cache,
        run: Callable[[Cell], CellResult],
        time: Callable[[Cell], Timing],
        decode: Callable[[Mapping[str, Any]], CellResult] = decode_result,
        execute: Executor = map_cells,
    ) -> None:
        """Measure `cells`.

        Args:
            cells: of the tables.
            cache: knows finished ones.
            run: measures success, in another process.
            time: measures times, in another process.
            decode: makes what `run` gives of its fields in JSON.
            execute: calls them for every cell.
        """
        self.cells = cells
        self._cache = cache
        self._execute = execute
        self._run, self._time, self._decode = run, time, decode
        self._results: dict[int, CellResult] = {}
        self._timings: dict[RowKey, Timing] = {}

    def success(self, workers: int, ray_address: str | None = None) -> None:
        """Measure success; see `run_all`."""
        for position, result in run_all(
            'success', self._run, self._decode, self.cells, self._cache, workers, ray_address,
            self._execute,
        ):
            self._results[position] = result

    def times(self, cells: Sequence[Cell]) -> None:
        """Measure times, one cell after the other; they hold for both loops of their rows."""
        for position, timing in run_all(
            'times', self._time, decode_timing, cells, self._cache, workers=1,
            execute=self._execute,
        ):
            self._timings[(*key_of(cells[position])[:3], True)] = timing

    def rows(self) -> list[RowData]:
        """The rows of all cells that have a result."""
        return gather(self.cells, self._results, self._timings)


def measure_and_write(
    measure: Callable[[], None], write: Callable[[], None], command: str
) -> int:
    """Measure and write, also what there is after Ctrl-C, which gives 130, or a failure.

    Raises:
        ConnectionError: if there is no Ray cluster where one was named.
        ImportError: if Ray is not installed.
    """
    status = 0
    try:
        measure()
    except (ConnectionError, ImportError):
        raise
    except KeyboardInterrupt:
        print(f'\n{command}: interrupted; --resume goes on from here', file=sys.stderr)
        status = 130
    except Exception:
        write()
        raise
    write()
    return status
