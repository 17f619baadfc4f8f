"""The pairing rule: which images of a recording become frames, and what was commanded in between.

Frames: from a frame, the next one is the image whose stamp is nearest to one model step later, if
it is within the tolerance; else the episode ends, and another begins with the next image. No frame
is before the first command.

Commands: a step is cut into `frame_skip` equal parts, and each gets one command. A command is in
force from its stamp plus `lag_s` until the next one is (zero-order hold), for velocities and
efforts at most `timeout_s`, after which the robot stops. Of velocities and efforts the mean over
the part is taken, weighted by time; of positions the one in force in its middle; of relative
motions the sum of those that take effect in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.types import NANOSECONDS
from grasp_ros.models.action_space import ActionKind


@dataclass(frozen=True)
class PairingRule:
    """Settings of the rule.

    Attributes:
        kind: what a command is.
        model_dt: seconds of a model step.
        frame_skip: commands in a step.
        lag_s: from a command's stamp to its effect on the robot.
        timeout_s: without a command for so long the robot stops by itself; infinity for never.
        tolerance: largest deviation of a step's duration, as a fraction of `model_dt`.
        longest: steps of an episode; longer ones are cut.
    """

    kind: ActionKind
    model_dt: float
    frame_skip: int = 1
    lag_s: float = 0.0
    timeout_s: float = 0.5
    tolerance: float = 0.25
    longest: int = 500


@dataclass(frozen=True, eq=False)
class PairedEpisode:
    """An episode of F frames.

    Attributes:
        frames: (F,) numbers of the images.
        commands: (F - 1, frame_skip, R) between them.
    """

    frames: NDArray[np.int64]
    commands: NDArray[np.float64]


def pair(
    image_ns: NDArray[np.int64],
    command_ns: NDArray[np.int64],
    commands: NDArray[np.float64],
    rule: PairingRule,
) -> list[PairedEpisode]:
    """Pair images with commands.

    Args:
        image_ns: (I,) stamps, rising.
        command_ns: (C,) stamps, never falling; at least one.
        commands: (C, R).
        rule: how.

    Returns:
        Episodes of two or more frames.
    """
    origin = int(command_ns[0])
    images = (image_ns - origin) / NANOSECONDS
    # What counts is when a command takes effect.
    effect = (command_ns - origin) / NANOSECONDS + rule.lag_s
    first = int(np.searchsorted(images, effect[0] - 1e-9))
    episodes = []
    for frames in _chains(images, first, rule):
        for begin in range(0, len(frames) - 1, rule.longest):
            part = frames[begin : begin + rule.longest + 1]
            episodes.append(PairedEpisode(part, _in_force(images[part], effect, commands, rule)))
    return episodes


def _chains(
    images: NDArray[np.float64], first: int, rule: PairingRule
) -> list[NDArray[np.int64]]:
    """Numbers of images that follow one another by a model step, two or more in each chain."""
    chains: list[NDArray[np.int64]] = []
    chain: list[int] = []
    image = first
    while image < len(images):
        chain.append(image)
        target = images[image] + rule.model_dt
        after = int(np.searchsorted(images, target))
        near = [i for i in (after - 1, after) if image < i < len(images)]
        following = min(near, key=lambda i: abs(images[i] - target), default=None)
        if following is not None and (
            abs(images[following] - target) <= rule.tolerance * rule.model_dt
        ):
            image = following
            continue
        if len(chain) > 1:
            chains.append(np.array(chain))
        chain = []
        image += 1
    if len(chain) > 1:
        chains.append(np.array(chain))
    return chains


def _in_force(
    frames: NDArray[np.float64],
    effect: NDArray[np.float64],
    commands: NDArray[np.float64],
    rule: PairingRule,
) -> NDArray[np.float64]:
    """Commands (F - 1, frame_skip, R) between frames at times (F,)."""
    share = np.arange(rule.frame_skip) / rule.frame_skip
    begins = (frames[:-1, None] + share * np.diff(frames)[:, None]).ravel()
    edges = np.append(begins, frames[-1])
    if rule.kind == ActionKind.POSITION:
        middle = (edges[:-1] + edges[1:]) / 2
        found = commands[np.maximum(_latest(effect, middle), 0)]
    elif rule.kind == ActionKind.RELATIVE:
        before = np.concatenate([np.zeros_like(commands[:1]), commands.cumsum(axis=0)])
        # An effect at the very moment of a frame is one of the step that begins there.
        found = np.diff(before[np.searchsorted(effect, edges - 1e-9)], axis=0)
    else:
        integral = _integral(edges, *_with_stops(effect, commands, rule.timeout_s))
        found = np.diff(integral, axis=0) / np.diff(edges)[:, None]
    return found.reshape(len(frames) - 1, rule.frame_skip, commands.shape[1])


def _latest(effect: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the command in force at each time; -1 before the first."""
    return np.asarray(np.searchsorted(effect, times + 1e-9, side='right') - 1, np.int64)


def _with_stops(
    effect: NDArray[np.float64], commands: NDArray[np.float64], timeout_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and commands, with a zero wherever the robot stops by itself."""
    silent = np.append(np.diff(effect), np.inf) > timeout_s
    if not silent.any() or not np.isfinite(timeout_s):
        return effect, commands
    after = np.flatnonzero(silent) + 1
    stops = effect[silent] + timeout_s
    return np.insert(effect, after, stops), np.insert(commands, after, 0.0, axis=0)


def _integral(
    times: NDArray[np.float64], effect: NDArray[np.float64], commands: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integral over time of what was commanded until each time (T,): (T, R)."""
    whole = np.cumsum(np.diff(effect)[:, None] * commands[:-1], axis=0)
    before = np.concatenate([np.zeros_like(commands[:1]), whole])
    latest = np.maximum(_latest(effect, times), 0)
    return before[latest] + (times - effect[latest])[:, None] * commands[latest]
