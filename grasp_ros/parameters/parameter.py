"""Typed parameters of a node: a pydantic table, its rows, and what is wrong with a value.

Imports no torch: the simulated robot and the commands start without it.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Value = bool | int | float | str | list[float] | list[str]
RESERVED = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')
"""Beginnings of names that rclpy declares itself."""

NO_ADVICE: Mapping[str, str] = MappingProxyType({})
_TYPE_NAMES = {bool: 'bool', int: 'int', float: 'double', str: 'string'}


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it and says what would be right."""


class ParameterGroup(BaseModel):
    """Table of parameters, or a dotted group within one.

    A field is either another group or one line: `rate: float = parameter(10.0, 'frames', 0, 100)`.
    Types are those of ROS: bool, int, float, str, or a tuple of floats or strings.
    """

    model_config = ConfigDict(frozen=True, extra='forbid', strict=True, allow_inf_nan=False)

    @field_validator('*', mode='before')
    @classmethod
    def _as_ros_takes_it(cls, value: Any, info: ValidationInfo) -> Any:
        """Take lists for tuples, and no integer for a double."""
        if isinstance(value, list):
            value = tuple(value)
        field = cls.model_fields[str(info.field_name)]
        if _element_type(field.annotation) is float:
            elements = value if isinstance(value, tuple) else (value,)
            if any(type(element) is int for element in elements):
                raise PydanticCustomError('float_type', 'an integer is no double')
        return value


Table = TypeVar('Table', bound=ParameterGroup)


def parameter(
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
    *,
    unit: str = '',
    live: bool = False,
) -> Any:
    """A line of a table.

    Args:
        default: of the field's type.
        description: for people, without the unit.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        unit: of the value; empty for none.
        live: whether it may be changed while the node is active.
    """
    extra: dict[str, Any] = {'unit': unit, 'live': live}
    return Field(default, ge=low, le=high, description=description, json_schema_extra=extra)


@dataclass(frozen=True)
class OneOf:
    """Annotation of a string that must be one of those that other code knows."""

    choices: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Schema of a literal."""
        return core_schema.literal_schema(list(self.choices))


@dataclass(frozen=True)
class Parameter:
    """One row of a table, as declarations and documents want it.

    Attributes:
        name: dotted.
        default: its type is the parameter's type; a list's type is given by `element`.
        description: for people.
        unit: of the value; empty for none.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        choices: the strings allowed; empty for any.
        element: type of the value, or of a list's elements.
        live: whether it may be changed while the node is active.
    """

    name: str
    default: Value
    description: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    element: type[Any]
    live: bool

    @property
    def type_name(self) -> str:
        """Type as ROS users write it."""
        return _TYPE_NAMES[self.element] + ('[]' if isinstance(self.default, list) else '')

    @property
    def range_text(self) -> str:
        """The allowed values, for people."""
        if self.choices:
            return ', '.join(self.choices)
        if self.low is None and self.high is None:
            return ''
        form = 'd' if self.element is int else 'g'
        low = '-inf' if self.low is None else f'{self.low:{form}}'
        high = 'inf' if self.high is None else f'{self.high:{form}}'
        return f'[{low}, {high}]'


def rows(table: type[ParameterGroup], prefix: str = '') -> tuple[Parameter, ...]:
    """The rows of a table in its order, with dotted names that begin with `prefix`."""
    return tuple(_rows(table, prefix))


def _rows(table: type[ParameterGroup], prefix: str) -> Iterator[Parameter]:
    for name, field in table.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, ParameterGroup):
            yield from _rows(kind, f'{prefix}{name}.')
        else:
            yield _row(f'{prefix}{name}', field)


def _row(name: str, field: FieldInfo) -> Parameter:
    limits: list[Any] = list(field.metadata)
    default = field.default
    if isinstance(default, tuple):
        default = list(default)
        limits += typing.get_args(typing.get_args(field.annotation)[0])
    literal = typing.get_origin(field.annotation) is Literal
    choices = typing.get_args(field.annotation) if literal else ()
    extra = field.json_schema_extra
    assert isinstance(extra, dict), f'{name} is not made by `parameter`'
    return Parameter(
        name,
        default,
        field.description or '',
        unit=str(extra['unit']),
        low=next((limit.ge for limit in limits if hasattr(limit, 'ge')), None),
        high=next((limit.le for limit in limits if hasattr(limit, 'le')), None),
        choices=next((limit.choices for limit in limits if isinstance(limit, OneOf)), choices),
        element=_element_type(field.annotation),
        live=bool(extra['live']),
    )


def _element_type(annotation: Any) -> type[Any]:
    """Type of a field's value, or of the elements of a tuple."""
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is Literal:
        return str
    assert isinstance(annotation, type)
    return annotation


def from_values(
    table: type[Table], values: Mapping[str, Any], removed: Mapping[str, str] = NO_ADVICE
) -> Table:
    """Typed parameters from values by dotted name; defaults where none is given.

    Args:
        table: of the node.
        values: of some parameters.
        removed: what to do instead, for names that existed once.

    Raises:
        ParameterError: naming the first that is unknown, of the wrong type or out of range.
    """
    known = {row.name: row for row in rows(table)}
    nested: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise unknown_parameter(name, known, removed)
        *groups, last = name.split('.')
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    try:
        return table.model_validate(nested)
    except ValidationError as error:
        first = error.errors()[0]
        name = '.'.join(part for part in first['loc'] if isinstance(part, str))
        raise _refused(known[name], first['type'], first['input'], values[name]) from error


def _refused(row: Parameter, kind: str, wrong: Any, given: Any) -> ParameterError:
    """The error for the part `wrong` of the value `given`, by pydantic's name for its kind."""
    if kind == 'finite_number':
        return ParameterError(f'parameter {row.name!r} is {wrong}; give a finite number')
    if kind == 'literal_error' and isinstance(given, str):
        return ParameterError(f'parameter {row.name!r} is {given!r}; allowed: {row.range_text}')
    if kind in ('greater_than_equal', 'less_than_equal'):
        return ParameterError(f'parameter {row.name!r} is {wrong}; allowed is {row.range_text}')
    return ParameterError(
        f'parameter {row.name!r} must be of type {row.type_name} '
        f"(doubles are written with a point, as '1.0'), not {given!r}"
    )


def values_of(params: ParameterGroup, prefix: str = '') -> dict[str, Value]:
    """The values of a table by dotted name, tuples as lists."""
    values: dict[str, Value] = {}
    for name in type(params).model_fields:
        value = getattr(params, name)
        if isinstance(value, ParameterGroup):
            values.update(values_of(value, f'{prefix}{name}.'))
        else:
            values[f'{prefix}{name}'] = list(value) if isinstance(value, tuple) else value
    return values


def changed(params: Table, changes: Mapping[str, Any]) -> Table:
    """The parameters with other values for some dotted names.

    Raises:
        ParameterError: as `from_values`.
    """
    return from_values(type(params), {**values_of(params), **changes})


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
