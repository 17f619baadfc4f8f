"""Recipes of the models of each task: data, sizes, weights of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def _setting(default: Any, meaning: str) -> Any:
    """Field of `TrainConfig`, whose meaning is the help text of its command-line option."""
    return field(default=default, metadata={'help': meaning})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults reproduce the model of the default task."""

    task: str = _setting('two_room', 'name of the simulated task')
    seed: int = _setting(0, 'seed of all randomness')
    layouts: int = _setting(1, 'worlds that motion is recorded in')
    episodes: int = _setting(4000, 'episodes to record, in all worlds together')
    length: int = _setting(60, 'actions in an episode')
    near_door: float = _setting(0.25, 'fraction of the episodes that start near a door')
    iterations: int = _setting(8000, 'optimiser steps of encoder and predictor')
    reach_iterations: int = _setting(15000, 'optimiser steps of the time-to-reach head')
    decoder_iterations: int = _setting(3000, 'optimiser steps of the decoder')
    on_policy_episodes: int = _setting(
        0, 'episodes that the model drives itself, to finetune it with; 0 for none'
    )
    finetune_iterations: int = _setting(
        1500, 'optimiser steps of encoder and predictor, half of them on those episodes'
    )
    predictor_iterations: int = _setting(
        0,
        'optimiser steps of the predictor alone on frozen latents, half of its windows of episodes '
        'that the model drives once more, where there are such',
    )
    manifold_iterations: int = _setting(
        5000, 'optimiser steps of the denoiser that knows the manifold of latents'
    )
    batch: int = _setting(64, 'windows in a batch, and images of the decoder')
    reach_batch: int = _setting(512, 'pairs of latents in a batch of the time-to-reach head')
    reach_graphs: int = _setting(
        0,
        'worlds whose graphs over latents label the pairs of the time-to-reach head; 0 to train it '
        'by constraints on the recorded motion',
    )
    reach_farthest: int = _setting(60, 'model steps up to which random pairs are pushed apart')
    smoothness: float = _setting(0.2, 'weight of the temporal smoothness of latents')
    inverse_dynamics: float = _setting(1.0, 'weight of the inverse dynamics of single actions')
    displacement: float = _setting(0.0, 'weight of the inverse dynamics over several steps')
    reconstruction: float = _setting(0.0, "weight of decoded images in the encoder's loss")
    decoded: int = _setting(4, 'of this many windows one is decoded for that')
    learning_rate: float = _setting(1e-3, 'highest learning rate of encoder and predictor')
    latent_dim: int = _setting(32, 'components of a latent')
    hidden: int = _setting(384, 'width of the predictor')
    channels: int = _setting(16, "channels of the encoder's first layers")
    encoder_hidden: int = _setting(128, "width of the encoder's last hidden layer")
    reach_hidden: int = _setting(256, 'width of the time-to-reach head')
    manifold_hidden: int = _setting(256, 'width of the denoiser; 0 for none')
    keypoints: int = _setting(0, 'keypoints of the encoder; 0 for none')
    probe_limit_px: float = _setting(
        0.5, "acceptance threshold: largest error of a linear probe for the robot's position, px"
    )
    span: int = _setting(25, 'model steps of the rollouts that encoder and predictor learn from')
    predictor_span: int = _setting(
        16, 'model steps of the rollouts that the predictor alone learns from'
    )
    patience: int = _setting(
        0,
        'evaluations on held-out data in a row, one every 250 iterations, without gain before '
        'encoder and predictor stop early; 0 for never',
    )
    proprioception: int = _setting(
        1, 'whether the model takes the proprioception that the data have, 1 or 0'
    )
    precision: str = _setting(
        'float32', 'arithmetic: float32, or bfloat16 where autocast finds it exact enough'
    )


RECIPES: Mapping[str, TrainConfig] = {
    recipe.task: recipe
    for recipe in (
        TrainConfig(),
        # Where worlds differ, walls are what is smoothest and varies most: without smoothness and
        # with more inverse dynamics the latents show where the robot is.
        TrainConfig(
            task='two_room_drawn_door',
            layouts=500,
            episodes=6000,
            iterations=6000,
            reach_iterations=12000,
            decoder_iterations=1500,
            smoothness=0.0,
            inverse_dynamics=1.5,
            displacement=3.0,
            reconstruction=0.1,
            encoder_hidden=256,
        ),
        TrainConfig(
            task='maze',
            layouts=1200,
            episodes=4800,
            length=80,
            near_door=0.5,
            iterations=3500,
            reach_iterations=12000,
            decoder_iterations=1500,
            reach_batch=768,
            reach_graphs=900,
            smoothness=0.0,
            inverse_dynamics=1.5,
            displacement=3.0,
            reconstruction=0.1,
            latent_dim=64,
            hidden=512,
            encoder_hidden=256,
            reach_hidden=384,
            keypoints=32,
            on_policy_episodes=600,
            predictor_iterations=3000,
        ),
    )
}

RECORDED = TrainConfig(
    task='recorded',
    iterations=6000,
    reach_iterations=10000,
    decoder_iterations=2000,
    predictor_iterations=2000,
    smoothness=0.0,
    inverse_dynamics=1.5,
    displacement=3.0,
    reconstruction=0.1,
    latent_dim=64,
    hidden=512,
    encoder_hidden=256,
    keypoints=32,
    patience=8,
)
"""For recorded data."""

SIMULATED_ONLY = (
    'layouts',
    'episodes',
    'length',
    'near_door',
    'on_policy_episodes',
    'finetune_iterations',
    'reach_graphs',
    'probe_limit_px',
)
"""Settings that mean nothing to recorded data."""
