"""The table of parameters: what its rows say, and which values it takes."""

from dataclasses import fields

import pytest

from grasp_ros.parameters.parameter import (
    ParameterError,
    ParameterGroup,
    changed,
    from_values,
    parameter,
    rows,
    values_of,
)
from grasp_ros.parameters.table import (
    KNOWN,
    PARAMETERS,
    REMOVED,
    TABLES,
    markdown_table,
    node_parameters,
    planner_options,
)
from grasp_ros.planning.registry import PLANNERS

TYPES = {'bool': bool, 'int': int, 'double': float, 'string': str}


class Lens(ParameterGroup):
    """A group."""

    angles: tuple[float, ...] = parameter((), 'of view', unit='rad')
    name: str = parameter('wide', 'which')


class Camera(ParameterGroup):
    """A table with a group."""

    rate: float = parameter(10.0, 'images per second', 0.1, 100, unit='Hz', live=True)
    lens: Lens = Lens()


def test_rows_say_what_the_table_says():
    rate, angles, name = rows(Camera)
    assert (rate.name, rate.default, rate.description) == ('rate', 10.0, 'images per second')
    assert (rate.type_name, rate.unit, rate.range_text) == ('double', 'Hz', '[0.1, 100]')
    assert rate.live and not angles.live
    assert (angles.name, angles.type_name, angles.default) == ('lens.angles', 'double[]', [])
    assert (name.name, name.type_name, name.range_text) == ('lens.name', 'string', '')


def test_values_and_typed_parameters_are_two_ways_to_say_the_same():
    values = {'rate': 5.0, 'lens.angles': [0.5, 1.0], 'lens.name': 'wide'}
    params = from_values(Camera, values)
    assert params.lens.angles == (0.5, 1.0)
    assert values_of(params) == values
    assert changed(params, {'rate': 7.0}).rate == 7.0
    assert params.rate == 5.0


@pytest.mark.parametrize(
    ('values', 'fault'),
    [
        ({'rate': 5}, "'rate' must be of type double .*not 5"),
        ({'rate': True}, "'rate' must be of type double"),
        ({'rate': float('nan')}, "'rate' is nan; give a finite number"),
        ({'rate': 200.0}, r"'rate' is 200.0; allowed is \[0.1, 100\]"),
        ({'lens.angles': [1]}, r"'lens.angles' must be of type double\[\]"),
        ({'lens.angles': 1.0}, r"'lens.angles' must be of type double\[\]"),
        ({'lens.name': 3}, "'lens.name' must be of type string"),
        ({'lens': 3}, "unknown parameter 'lens'"),
        ({'rat': 3.0}, "unknown parameter 'rat'; did you mean 'rate'"),
    ],
)
def test_what_does_not_fit_the_table_is_refused(values, fault):
    with pytest.raises(ParameterError, match=fault):
        from_values(Camera, values)


@pytest.mark.parametrize('planner', PLANNERS)
def test_every_default_is_one_that_the_table_takes(planner):
    table = rows(TABLES[planner])
    assert all(row.description for row in table)
    params = node_parameters({row.name: row.default for row in table} | {'planner.name': planner})
    assert planner_options(params) == PLANNERS[planner].config()


def test_a_limit_is_refused_on_its_other_side():
    for row in PARAMETERS:
        step = TYPES[row.type_name.removesuffix('[]')](1)
        beyond = [
            value for value in (row.low is not None and row.element(row.low - step),
                                row.high is not None and row.element(row.high + step))
            if value is not False
        ]
        for value in beyond:
            given = [value] if row.type_name.endswith('[]') else value
            with pytest.raises(ParameterError, match='allowed is'):
                node_parameters({row.name: given})


def test_the_node_has_the_options_of_one_planner_only():
    for planner, table in TABLES.items():
        dotted = {row.name for row in rows(table)}
        own = {f'{planner}.{option.name}' for option in fields(PLANNERS[planner].config)}
        assert own <= dotted
        others = tuple(f'{other}.' for other in PLANNERS if other != planner)
        assert not any(name.startswith(others) for name in dotted)


def test_no_parameter_is_both_there_and_removed():
    assert not REMOVED.keys() & set(KNOWN)


def test_the_documented_table_has_a_line_for_each_parameter():
    head, rule, *lines = markdown_table().splitlines()
    assert head.count('|') == rule.count('|')
    assert len(lines) == len(PARAMETERS)
    for row, line in zip(PARAMETERS, lines, strict=True):
        assert line.startswith(f'| `{row.name}` | {row.type_name} |')
        assert line.count('|') == head.count('|')
