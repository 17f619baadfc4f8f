"""Histories are windowed exactly: action k leaves frame k."""

import pytest
import torch

from grasp_ros.models.protocol import predict_windows, rollout, windows
from harness.toy_models import ClockworkModel, LinearModel, SmoothModel, problem_for


def integers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 97, shape, generator=generator).to(torch.float64)


@pytest.mark.parametrize('history', [1, 2, 3, 5])
@pytest.mark.parametrize('horizon', [1, 2, 7])
def test_windows_pair_each_frame_with_the_action_that_leaves_it(history, horizon):
    # Frame s_t is called t, action a_t is called 1000 + t; s_0 and a_0 are present.
    times = torch.arange(1 - history, horizon + 1, dtype=torch.float64)
    frames = times[None, :, None]
    context, states = frames[:, :history], frames[:, history:]
    names = 1000 + times[:-1][None, :, None]
    latents, taken = windows(context, states, names[:, : history - 1], names[:, history - 1 :])
    assert latents.shape == (1, horizon, history, 1)
    for step in range(horizon):
        expected = torch.arange(step - history + 1, step + 1, dtype=torch.float64)
        assert latents[0, step, :, 0].tolist() == expected.tolist()
        assert taken[0, step, :, 0].tolist() == (1000 + expected).tolist()


def test_rollout_equals_stepping_by_hand():
    model = ClockworkModel()
    context, past = integers(4, 3, 2), integers(4, 2, 1, seed=1)
    actions = integers(4, 6, 1, seed=2)
    frames = [context[:, index] for index in range(3)]
    taken = [past[:, index] for index in range(2)] + [actions[:, index] for index in range(6)]
    for step in range(6):
        frames.append(
            torch.remainder(
                frames[step] + 2 * frames[step + 1] + 3 * frames[step + 2]
                + 5 * taken[step] + 7 * taken[step + 1] + 11 * taken[step + 2],
                97.0,
            )
        )
    rolled = rollout(model, context, past, actions)
    assert torch.equal(rolled, torch.stack(frames[3:], dim=1))


def test_a_rollout_has_no_residual():
    model = ClockworkModel()
    context, past = integers(4, 3, 2), integers(4, 2, 1, seed=1)
    actions = integers(4, 6, 1, seed=2)
    rolled = rollout(model, context, past, actions)
    predicted = predict_windows(model, *windows(context, rolled, past, actions))
    assert torch.equal(predicted, rolled)


def test_rollout_of_a_linear_model_is_a_sum():
    problem = problem_for(LinearModel(), 5, batch=3)
    actions = integers(3, 5, 2)
    rolled = rollout(LinearModel(), problem.context, problem.past_actions, actions)
    torch.testing.assert_close(rolled, problem.context + actions.cumsum(dim=1))


def test_a_patch_latent_keeps_its_shape():
    model = SmoothModel(2, (4, 3), 2)
    problem = problem_for(model, 5, batch=2)
    rolled = rollout(model, problem.context, problem.past_actions, torch.zeros(2, 5, 2).double())
    assert rolled.shape == (2, 5, 4, 3)
