"""What the image of a goal does not show, as its proprioception, changes no plan."""

from dataclasses import replace

import pytest
import torch

from harness.baselines import LIGHT, solve
from harness.toy_models import SmoothModel, problem_for

HORIZON = 6
CASES = [(name, {}) for name in LIGHT] + [
    ('grasp', {'action_step': 'gauss_newton'}),
    ('grasp', {'sync_kind': 'sweeps'}),
    ('grasp', {'sync_kind': 'cem'}),
    ('grasp', {'stop_gradient': False}),
]


class HalfSeen(SmoothModel):
    """Images show the first two of four components."""

    visual_width = 2


@pytest.mark.parametrize(('name', 'options'), CASES, ids=str)
@pytest.mark.parametrize('shape', [(4,), (3, 4)], ids=['vector', 'tokens'])
def test_plans_do_not_depend_on_it(name, options, shape):
    model = HalfSeen(2, shape, 2)
    problem = problem_for(model, HORIZON)
    other = problem.goal.clone()
    other[..., 2:] += 5.0
    short = {'iterations': 6} if name in ('grasp', 'latco') else {}
    plans = [
        solve(name, model, each, **short, **options)
        for each in (problem, replace(problem, goal=other))
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert torch.equal(plans[0].terminal_cost, plans[1].terminal_cost)
    other[..., :2] += 5.0
    moved = solve(name, model, replace(problem, goal=other), **short, **options)
    assert not torch.equal(plans[0].terminal_cost, moved.terminal_cost)
