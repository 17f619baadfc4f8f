"""How the model of each task is trained: data, sizes, weights of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults reproduce the model of the default task.

    Attributes:
        task: name in grasp_ros.sim.registry.
        seed: of all randomness.
        layouts: worlds that data are collected in.
        episodes: of all worlds together.
        length: actions of an episode.
        near_door: fraction of the episodes that start near a door.
        iterations: of encoder and predictor.
        reach_iterations: of the time-to-reach head.
        decoder_iterations: of the decoder.
        on_policy_episodes: driven with the trained model, to finetune it with; 0 for none.
        finetune_iterations: of encoder and predictor, half of them on those episodes.
        predictor_iterations: of the predictor alone, on frozen latents; half of its windows are
            of episodes that the model drives once more, where there are such.
        manifold_iterations: of the denoiser that knows the manifold of latents.
        batch: windows, and pictures of the decoder, in an iteration.
        reach_batch: pairs in an iteration of the head.
        reach_graphs: worlds whose graphs over latents label the head's pairs; 0 for a head that is
            trained by constraints on the recorded motion.
        reach_farthest: model steps up to which random pairs are pushed apart.
        smoothness: weight of this term in the encoder's loss, as the next three.
        inverse_dynamics: of single actions.
        displacement: of inverse dynamics over several steps.
        reconstruction: of decoded pictures.
        decoded: one window in so many is decoded for that.
        learning_rate: of encoder and predictor, at its highest.
        latent_dim: D.
        hidden: width of the predictor.
        channels: of the encoder's first layers.
        encoder_hidden: width of the encoder's last hidden layer.
        reach_hidden: width of the head.
        probe_limit_px: gate of the linear probe for the robot's position.
        manifold_hidden: width of the denoiser; 0 for none.
        keypoints: of the encoder; 0 for none.
        span: model steps of the rollouts that encoder and predictor learn from.
        predictor_span: model steps of the rollouts that the predictor alone learns from.
        patience: encoder and predictor stop early after so many evaluations on held-out data
            without gain, one every 250 iterations; 0 for never. Of recorded data only.
        proprioception: 1 to feel what the data have of it, 0 to see only.
        precision: float32, or bfloat16 where autocast finds it exact enough.
    """

    task: str = 'two_room'
    seed: int = 0
    layouts: int = 1
    episodes: int = 4000
    length: int = 60
    near_door: float = 0.25
    iterations: int = 8000
    reach_iterations: int = 15000
    decoder_iterations: int = 3000
    on_policy_episodes: int = 0
    finetune_iterations: int = 1500
    predictor_iterations: int = 0
    manifold_iterations: int = 5000
    batch: int = 64
    reach_batch: int = 512
    reach_graphs: int = 0
    reach_farthest: int = 60
    smoothness: float = 0.2
    inverse_dynamics: float = 1.0
    displacement: float = 0.0
    reconstruction: float = 0.0
    decoded: int = 4
    learning_rate: float = 1e-3
    latent_dim: int = 32
    hidden: int = 384
    channels: int = 16
    encoder_hidden: int = 128
    reach_hidden: int = 256
    manifold_hidden: int = 256
    keypoints: int = 0
    probe_limit_px: float = 0.5
    span: int = 25
    predictor_span: int = 16
    patience: int = 0
    proprioception: int = 1
    precision: str = 'float32'


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
