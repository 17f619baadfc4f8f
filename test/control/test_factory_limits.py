"""Limits from parameters: which are refused, and does the message name the way out?"""

import numpy as np
import pytest

from grasp_ros.control.factory import build_limits
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import CommandParameters


def limits_of(space, **changes):
    return build_limits(CommandParameters(**changes), 10.0, space)


def space(kind=ActionKind.VELOCITY):
    ones = np.ones(2)
    return ActionSpace(kind, ('x', 'y'), ('m/s',) * 2, -ones, ones, 0 * ones, ones)


def test_without_parameters_only_the_models_box_counts():
    limits = limits_of(space())
    assert limits.only_box
    assert limits.low.tolist() == [-1, -1]


def test_given_limits_tighten():
    limits = limits_of(
        space(), low=[-0.5, -9.0], max_rate=[1.0, 2.0], max_acceleration=[10.0, 20.0]
    )
    assert limits.low.tolist() == [-0.5, -1]
    assert limits.rate.tolist() == [1, 2]
    assert limits.acceleration.tolist() == [10, 20]


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'max_acceleration': [1.0]}, "'command.max_acceleration' has 1 entries"),
        ({'low': [0.5, -1.0]}, 'leave out zero'),
        ({'high': [-1.0, 1.0]}, 'leave no room'),
        ({'max_rate': [0.1, 1.0]}, 'a stop may take 10.6 s'),
        ({'max_acceleration': [0.01, 1.0]}, "'command.max_acceleration': a stop may take"),
    ],
)
def test_limits_with_which_the_robot_cannot_stop_soon_are_refused(changes, expected):
    with pytest.raises(ParameterError, match=expected):
        limits_of(space(), **changes)


def test_positions_need_not_include_zero():
    assert limits_of(space(ActionKind.POSITION), low=[0.5, 0.5])
