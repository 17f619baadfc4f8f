"""Report page of a trained model: its data, open-loop errors, reconstructions, rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.messages.images import encode_compressed, from_model_output
from grasp_ros.models.calibration import DistanceCurve
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import rollout, side_by_side
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.evaluation.acceptance import Evaluation
from grasp_ros.training.losses.latents import EpisodeLatents

REPORT_NAME = 'report.md'
RECONSTRUCTED, STRIPS, STRIP_FRAMES = 8, 3, 8
GAP = 2
SHOWN_SIDE = 96
"""Images are shown at least so large, px."""


def write_report(
    folder: Path,
    model: CompactModel,
    manifest: Manifest,
    dataset: Dataset,
    latents: EpisodeLatents,
    evaluation: Evaluation,
    failures: Sequence[str],
    rng: np.random.Generator,
) -> Path:
    """Write the page and its images.

    Args:
        folder: of the model; the page lies beside it.
        model: trained.
        manifest: as it was written.
        dataset: held-out motion.
        latents: of every frame of it.
        evaluation: of the model on it.
        failures: why the model is not acceptable, in words.
        rng: chooses what is shown.

    Returns:
        The page's file.
    """
    _save(folder / 'reconstructions.png', reconstructions(model, dataset, latents, rng))
    strips, steps = film_strips(model, dataset, latents, evaluation.horizon[-1], rng)
    _save(folder / 'imagined.png', strips)
    plotted = _plot(folder / 'curves.png', evaluation, manifest)
    path = folder / REPORT_NAME
    path.write_text('\n'.join(_page(manifest, evaluation, failures, steps, plotted)) + '\n')
    return path


@torch.no_grad()
def reconstructions(
    model: CompactModel, dataset: Dataset, latents: EpisodeLatents, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Held-out images above what the decoder makes of their latents, (h, w, 3) uint8."""
    episodes, steps = draw_windows(dataset.lengths, 0, RECONSTRUCTED, rng)
    real = side_by_side(dataset.images(episodes, steps))
    return _grid([real, model.decode(latents.at(episodes, steps))])


@torch.no_grad()
def film_strips(
    model: CompactModel,
    dataset: Dataset,
    latents: EpisodeLatents,
    span: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[int]]:
    """Real images above those imagined from the first one and the actions, and their steps."""
    episodes, start = draw_windows(dataset.lengths, span, STRIPS, rng)
    steps = np.unique(np.rint(np.linspace(0, span, STRIP_FRAMES)).astype(np.int64))
    first = latents.at(episodes, start)
    actions = dataset.actions(episodes, start, span).to(first)
    imagined = torch.cat(
        [first[:, None], rollout(model, first[:, None], actions[:, :0], actions)], dim=1
    )
    rows = []
    for strip in range(STRIPS):
        shown = dataset.images(np.full_like(steps, episodes[strip]), start[strip] + steps)
        rows.append(side_by_side(shown))
        rows.append(model.decode(imagined[strip, torch.from_numpy(steps)]))
    return _grid(rows), steps.tolist()


def _grid(rows: list[Tensor]) -> NDArray[np.uint8]:
    """Rows of images (N, 3, h, w) in [0, 1] as one image."""
    side = rows[0].shape[-1]
    scale = -(-SHOWN_SIDE // side)
    lines = []
    for row in rows:
        images = [from_model_output(image.numpy()) for image in row]
        framed = [
            np.pad(
                cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST),
                ((0, GAP), (0, GAP), (0, 0)),
                constant_values=255,
            )
            for image in images
        ]
        lines.append(np.concatenate(framed, axis=1))
    return np.asarray(np.concatenate(lines), np.uint8)


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    path.write_bytes(encode_compressed(image, 'png'))


def _plot(path: Path, evaluation: Evaluation, manifest: Manifest) -> bool:
    """Plot the error and the goal distances; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(12, 4), layout='constrained')
    error, *distances = figure.subplots(1, 3)
    error.plot(evaluation.horizon, evaluation.open_loop, label='imagined')
    error.plot(evaluation.horizon, evaluation.no_change, '--', label='nothing changes')
    error.set(xlabel='model steps', ylabel='latent error / standard deviation', ylim=(0, None))
    error.legend()
    calibration = manifest.calibration
    for axes, name in zip(distances, ('latent', 'time_to_reach'), strict=True):
        curve: DistanceCurve | None = getattr(calibration, name)
        if curve is not None:
            axes.plot(curve.steps, curve.median, marker='o', label='median')
            axes.plot(curve.steps, curve.high, '--', label='95 %')
            axes.legend()
        axes.set(xlabel='model steps of steady motion', ylabel=f'{name} distance', ylim=(0, None))
    figure.savefig(path, dpi=80)
    return True


def _page(
    manifest: Manifest,
    evaluation: Evaluation,
    failures: Sequence[str],
    steps: list[int],
    plotted: bool,
) -> list[str]:
    """Lines of the page."""
    training, action = manifest.training, manifest.action
    data = training['dataset']
    components = [
        f'| {name} | {unit} | {low:.4g} | {high:.4g} | {mean:.4g} | {std:.4g} |'
        for name, unit, low, high, mean, std in zip(
            action.names, action.units, action.low, action.high, action.mean, action.std,
            strict=True,
        )
    ]  # fmt: skip
    chosen = sorted({1, 5, 10, 25, evaluation.horizon[-1]} & set(evaluation.horizon))
    errors = [
        f'| {step} | {evaluation.open_loop[step - 1]:.3f} | {evaluation.no_change[step - 1]:.3f} |'
        for step in chosen
    ]
    curves = ['![Error and goal distances](curves.png)'] if plotted else [
        'For curves of error and goal distance install matplotlib and train again.'
    ]
    return [
        f'# World model of {training["task"]}' if 'task' in training else
        '# World model from recorded data',
        '',
        f'{data["dataset_steps"]} steps of {manifest.model_dt:g} s in {data["dataset_episodes"]} '
        f'episodes, {manifest.frame_skip} command(s) in a step; trained in '
        f'{training["minutes"]} minutes on {training["threads"]} thread(s).',
        '',
        *(f'- **Not acceptable:** {failure}.' for failure in failures),
        *([''] if failures else []),
        f'Actions of kind {action.kind.value}:',
        '',
        '| component | unit | low | high | mean | standard deviation |',
        '|---|---|---|---|---|---|',
        *components,
        '',
        '## Held-out episodes',
        '',
        'Error of imagined latents, over the standard deviation of all:',
        '',
        '| steps | imagined | nothing changes |',
        '|---|---|---|',
        *errors,
        '',
        f'Latents have a standard deviation of {evaluation.latent_std:.2f} and spread in '
        f'{evaluation.effective_rank:.1f} directions (collapsed: below 0.1, or below 2). The '
        'learned time to reach correlates with the steps between two frames by '
        f'{evaluation.reach_rank_correlation:.3f}; these are an upper bound of it.',
        '',
        *_acceptance(training.get('gates')),
        *curves,
        '',
        'Real images, and below them what the decoder makes of their latents:',
        '',
        '![Reconstructions](reconstructions.png)',
        '',
        'Real images, and below them what is imagined from the first one and the actions; steps '
        f'{", ".join(map(str, steps))}:',
        '',
        '![Imagined and real film strips](imagined.png)',
    ]


def _acceptance(measured: Mapping[str, float] | None) -> list[str]:
    """Lines on the acceptance test in simulation, where there was one."""
    if measured is None:
        return []
    return [
        'Against the true positions in the simulator:',
        '',
        '| acceptance test | measured |',
        '|---|---|',
        *(f'| {name} | {value:.3f} |' for name, value in measured.items()),
        '',
    ]
