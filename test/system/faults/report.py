"""Results of provoked faults, as lines and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system.faults.table import FAULTS, Fault

NAME_WIDTH = max(len(fault.name) for fault in FAULTS)
STATE_WIDTH = 14
HEADING = (
    f'{"fault":{NAME_WIDTH}}  {"reaction":{STATE_WIDTH}}  {"after":>8}  {"limit":>8}  recovered'
)


@dataclass(frozen=True)
class FaultResult:
    """Reaction to one fault, against its row of the table.

    Attributes:
        fault: its row.
        reaction_s: seconds to the reaction; NaN where it did not come.
        recovered: whether the robot was driven again.
        problem: what went wrong, for people; empty where nothing did.
    """

    fault: Fault
    reaction_s: float
    recovered: bool
    problem: str = ''

    @property
    def ok(self) -> bool:
        """Whether all is as the table says; no reaction is never in time."""
        in_time = self.reaction_s <= self.fault.limit_s
        return in_time and self.recovered and not self.problem

    def line(self) -> str:
        """One line for people, and the problem below it."""
        took = '-' if math.isnan(self.reaction_s) else f'{1e3 * self.reaction_s:.0f} ms'
        state = self.fault.state.name if self.fault.state is not None else '-'
        line = (
            f'{self.fault.name:{NAME_WIDTH}}  {state:{STATE_WIDTH}}  {took:>8}  '
            f'{1e3 * self.fault.limit_s:>5.0f} ms  {"yes" if self.recovered else "NO":9}  '
            f'{"ok" if self.ok else "NOT OK"}'
        )
        return '\n    '.join([line, *self.problem.splitlines()])

    def entry(self) -> dict[str, Any]:
        """The same for the report file."""
        known = not math.isnan(self.reaction_s)
        return {
            'fault': self.fault.name,
            'reaction': self.fault.reaction_text,
            'reaction_ms': round(1e3 * self.reaction_s, 1) if known else None,
            'limit_ms': round(1e3 * self.fault.limit_s, 1),
            'recovered': self.recovered,
            'ok': self.ok,
            **({'problem': self.problem} if self.problem else {}),
        }


def write_report(path: Path, results: list[FaultResult]) -> None:
    """A JSON list with one object for each fault."""
    entries = [result.entry() for result in results]
    path.write_text(json.dumps(entries, indent=2) + '\n')
