"""One parameter of a node: its type, its range, and what is wrong with a value.

Imports no torch: the simulated robot and the commands start without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

Value = bool | int | float | str | list[float] | list[str]
NO_ADVICE: Mapping[str, str] = MappingProxyType({})


class ParameterError(ValueError):
    """A parameter cannot be used; the message names it and says what would be right."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: dotted.
        default: its type is the parameter's type; a list's type is given by `element`.
        description: for people, with the unit.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        choices: the strings allowed; empty for any.
        element: type of a list's elements.
        live: whether it may be changed while the node is active.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    element: type = float
    live: bool = False

    @property
    def type_name(self) -> str:
        """Type as ROS users write it."""
        if isinstance(self.default, list):
            return {float: 'double[]', str: 'string[]'}[self.element]
        return {bool: 'bool', int: 'int', float: 'double', str: 'string'}[type(self.default)]

    @property
    def range_text(self) -> str:
        """The allowed values, for people."""
        if self.choices:
            return ', '.join(self.choices)
        if self.low is None and self.high is None:
            return ''
        form = 'd' if isinstance(self.default, int) else 'g'
        low = '-inf' if self.low is None else f'{self.low:{form}}'
        high = 'inf' if self.high is None else f'{self.high:{form}}'
        return f'[{low}, {high}]'

    def fault(self, value: Any) -> str | None:
        """Why `value` cannot be used, or None."""
        values = value if isinstance(value, list) else [value]
        for single in values:
            if isinstance(single, float) and not math.isfinite(single):
                return f'parameter {self.name!r} is {single}; give a finite number'
            too_low = self.low is not None and single < self.low
            if too_low or (self.high is not None and single > self.high):
                return f'parameter {self.name!r} is {single}; allowed is {self.range_text}'
        if self.choices and value not in self.choices:
            return f'parameter {self.name!r} is {value!r}; allowed: {self.range_text}'
        return None


def unknown_parameter(
    name: str, known: Iterable[str], removed: Mapping[str, str] = NO_ADVICE
) -> ParameterError:
    """The error for a parameter that does not exist.

    Args:
        name: that was given.
        known: names that exist; the nearest one is proposed.
        removed: what to do instead, for names that existed once.
    """
    if name in removed:
        return ParameterError(f'parameter {name!r} was removed: {removed[name]}')
    near = get_close_matches(name, known, n=1)
    hint = f'; did you mean {near[0]!r}?' if near else ''
    return ParameterError(f'unknown parameter {name!r}{hint}')
