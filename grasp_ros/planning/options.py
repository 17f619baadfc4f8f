"""Options of planners: dataclass fields that say for people what they are and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from grasp_ros.planning.objective import DistanceKind


@dataclass(frozen=True)
class OptionText:
    """Metadata of an option besides its type and default.

    Attributes:
        description: for people.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        choices: the strings allowed; empty for any.
    """

    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


def option(
    default: bool | int | float | str,
    description: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a planner's configuration; see OptionText."""
    return field(default=default, metadata={'text': OptionText(description, low, high, choices)})


def changed(base: type[Any], name: str, default: bool | int | float | str) -> Any:
    """The option `name` of the configuration `base` with another default."""
    (inherited,) = [entry for entry in fields(base) if entry.name == name]
    return field(default=default, metadata=inherited.metadata)


def option_text(metadata: Mapping[str, Any]) -> OptionText:
    """Metadata that `option` put into a dataclass field."""
    text = metadata['text']
    assert isinstance(text, OptionText)
    return text


@dataclass(frozen=True)
class DistanceOptions:
    """Options of the objective, which every planner has."""

    goal_distance: DistanceKind = option(  # noqa: RUF009 - it makes a field
        'auto',
        'latent as in the paper, the learned time_to_reach, or auto: learned where the model '
        'has it',
        choices=get_args(DistanceKind),
    )
