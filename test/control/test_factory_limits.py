"""Limits from parameters: which are refused, and does the message name the way out?"""

import numpy as np
import pytest

from grasp_ros.control.factory import build_limits
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.parameters.parameter import ParameterError

NONE = {'command.low': [], 'command.high': [], 'command.max_rate': [],
        'command.max_acceleration': [], 'control_rate': 10.0}  # fmt: skip


def space(kind=ActionKind.VELOCITY):
    ones = np.ones(2)
    return ActionSpace(kind, ('x', 'y'), ('m/s',) * 2, -ones, ones, 0 * ones, ones)


def test_without_parameters_only_the_models_box_counts():
    limits = build_limits(NONE, space())
    assert limits.only_box
    assert limits.low.tolist() == [-1, -1]


def test_given_limits_tighten():
    values = NONE | {
        'command.low': [-0.5, -9.0],
        'command.max_rate': [1.0, 2.0],
        'command.max_acceleration': [10.0, 20.0],
    }
    limits = build_limits(values, space())
    assert limits.low.tolist() == [-0.5, -1]
    assert limits.rate.tolist() == [1, 2]
    assert limits.acceleration.tolist() == [10, 20]


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'command.max_acceleration': [1.0]}, "'command.max_acceleration' has 1 entries"),
        ({'command.low': [0.5, -1.0]}, 'leave out zero'),
        ({'command.high': [-1.0, 1.0]}, 'leave no room'),
        ({'command.max_rate': [0.1, 1.0]}, 'a stop may take 10.6 s'),
        ({'command.max_acceleration': [0.01, 1.0]}, "'command.max_acceleration': a stop may take"),
    ],
)
def test_limits_with_which_the_robot_cannot_stop_soon_are_refused(changes, expected):
    with pytest.raises(ParameterError, match=expected):
        build_limits(NONE | changes, space())


def test_positions_need_not_include_zero():
    assert build_limits(NONE | {'command.low': [0.5, 0.5]}, space(ActionKind.POSITION))
