"""Results of finished cells on disk, so that a run that was cut can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.run.cells import Cell
from grasp_ros.models.checkpoint import read_manifest
from grasp_ros.planning.registry import PLANNERS


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
        identity['options'] = asdict(PLANNERS[cell.planner].config(**cell.options))
        identity['model'] = self._digest(cell.model)
        return identity


def weights_digest(model: str) -> str:
    """SHA-256 of the weights of the model in a folder."""
    return read_manifest(Path(model)).weights_sha256
