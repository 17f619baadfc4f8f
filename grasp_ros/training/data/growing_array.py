"""A .npy file that rows are appended to, readable after each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray


class GrowingArray:
    """A .npy file (N, *row), N counted up as rows are appended.

    numpy leaves room in the header for the first axis to grow, so that the header can be
    rewritten in place.
    """

    def __init__(self, path: Path, dtype: DTypeLike, row: tuple[int, ...]) -> None:
        """Make an empty file.

        Args:
            path: replaced where it exists.
            dtype: of the elements.
            row: shape of what follows the first axis.
        """
        self._path = path
        self._dtype = np.dtype(dtype)
        self._row = row
        self._count = 0
        self._file = path.open('wb')
        self._write_header()

    def __len__(self) -> int:
        return self._count

    def check(self, rows: NDArray[np.generic]) -> None:
        """Refuse rows of another shape.

        Raises:
            ValueError: naming both shapes.
        """
        if rows.shape[1:] != self._row:
            raise ValueError(f'{self._path.stem} has rows of {rows.shape[1:]}, not {self._row}')

    def append(self, rows: NDArray[np.generic]) -> None:
        """Append rows (n, *row), then count them in the header; errors as `check`."""
        self.check(rows)
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._file.flush()
        self._count += len(rows)
        self._write_header()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write_header(self) -> None:
        self._file.seek(0)
        header = {
            'descr': npy.dtype_to_descr(self._dtype),
            'fortran_order': False,
            'shape': (self._count, *self._row),
        }
        npy.write_array_header_1_0(self._file, header)
        self._file.flush()
