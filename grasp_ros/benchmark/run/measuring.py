"""Success and times of the cells of a run, as far as they have been measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grasp_ros.benchmark.episodes.timing import Timing, decode_timing
from grasp_ros.benchmark.run.cache import Cache
from grasp_ros.benchmark.run.cells import Cell, CellResult, decode_result
from grasp_ros.benchmark.run.running import run_all
from grasp_ros.benchmark.tables.results import RowData, RowKey, gather, key_of


class Measurement:
    """Measures cells and keeps what it finds."""

    def __init__(
        self,
        cells: Sequence[Cell],
        cache: Cache,
        run: Callable[[Cell], CellResult],
        time: Callable[[Cell], Timing],
        decode: Callable[[Mapping[str, Any]], CellResult] = decode_result,
    ) -> None:
        """Measure `cells`.

        Args:
            cells: of the tables.
            cache: knows finished ones.
            run: measures success, in another process.
            time: measures times, in another process.
            decode: makes what `run` gives of its fields in JSON.
        """
        self.cells = cells
        self._cache = cache
        self._run, self._time, self._decode = run, time, decode
        self._results: dict[int, CellResult] = {}
        self._timings: dict[RowKey, Timing] = {}

    def success(self, workers: int, ray_address: str | None = None) -> None:
        """Measure success; see `run_all`."""
        for position, result in run_all(
            'success', self._run, self._decode, self.cells, self._cache, workers, ray_address
        ):
            self._results[position] = result

    def times(self, cells: Sequence[Cell]) -> None:
        """Measure times, one cell after the other; they hold for both loops of their rows."""
        for position, timing in run_all(
            'times', self._time, decode_timing, cells, self._cache, workers=1
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
