"""Extract a recorded dataset from bags."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grasp_ros.bags.message_types import BagError
from grasp_ros.bags.reader import STORAGE_SUFFIXES, BagReader
from grasp_ros.control.types import NANOSECONDS
from grasp_ros.messages.commands import TWIST, TWIST_STAMPED
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.training.data.dataset import (
    DESCRIPTION_NAME,
    Description,
    RecordedAction,
    read_description,
)
from grasp_ros.training.data.pairing import PairedEpisode, PairingRule, pair
from grasp_ros.training.data.recorded import RecordedWriter
from grasp_ros.training.data.streams import (
    STAMPED,
    CommandStream,
    ImageStream,
    ProprioceptionStream,
    read_commands,
    read_images,
    read_proprioception,
)

SMALL = ImagePipeline(height=64, width=64)


@dataclass(frozen=True)
class Extraction:
    """Selection of topics, components and times to extract from bags.

    Attributes:
        bags: a bag, or a folder of bags.
        image_topic: of the camera.
        action_topic: of the commands.
        action_names: components of a command; empty for all that ever change.
        action_kind: what a command is; None for what is usual for its type.
        action_units: of the components; empty for those usual for the type.
        action_low: limits of the components; empty for the lowest and highest recorded.
        action_high: see `action_low`.
        proprioception_topic: of the proprioception; empty for none.
        proprioception_names: components of it; empty for positions of all joints or all numbers.
        clock: whether time is that of the headers, where images and commands have such, or when
            messages were recorded.
        image: size of the images, and how they are brought to it.
        model_dt: seconds of a model step; 0 for the camera's period.
        frame_skip: commands in a step.
        lag_s: from a command's time to its effect.
        timeout_s: without a command for so long the robot stops by itself; 0 for never.
        tolerance: largest deviation of a step's duration, as a fraction of it.
    """

    bags: Path
    image_topic: str
    action_topic: str
    action_names: tuple[str, ...] = ()
    action_kind: ActionKind | None = None
    action_units: tuple[str, ...] = ()
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    proprioception_topic: str = ''
    proprioception_names: tuple[str, ...] = ()
    clock: Literal['stamp', 'log'] = 'stamp'
    image: ImagePipeline = SMALL
    model_dt: float = 0.0
    frame_skip: int = 1
    lag_s: float = 0.0
    timeout_s: float = 0.5
    tolerance: float = 0.25


@dataclass
class Counts:
    """Counts of messages read, left out and used."""

    images: int = 0
    refused: int = 0
    commands: int = 0
    frames: int = 0
    episodes: int = 0


def find_bags(path: Path) -> list[Path]:
    """The bag at `path`, or all bags in the folders below it, in the order of their names.

    Raises:
        BagError: if there is none.
    """
    if path.is_file() or (path / 'metadata.yaml').exists():
        return [path]
    if path.is_dir():
        found = [file.parent for file in path.rglob('metadata.yaml')]
        known = set(found)
        found += [
            file
            for suffix in STORAGE_SUFFIXES
            for file in path.rglob(f'*{suffix}')
            if file.parent not in known
        ]
        if found:
            return sorted(found)
    raise BagError(f'{path}: neither a bag nor a folder of bags (--bags)')


def extract(wanted: Extraction, folder: Path) -> Counts | None:
    """Write a dataset of everything that was recorded.

    Args:
        wanted: what and how.
        folder: of the dataset; one that is complete and of the same bags is kept.

    Returns:
        What became of the messages; None where the dataset was there already.

    Raises:
        BagError: if a bag cannot be used, or all of them hold too little.
        ValueError: if settings do not fit the commands.
    """
    paths = find_bags(wanted.bags)
    source = _source(wanted, paths)
    if (folder / DESCRIPTION_NAME).exists() and read_description(folder).source == source:
        return None
    streams = _command_streams(wanted, paths)
    by_stamp = _by_stamp(wanted, streams[0])
    used = _used_components(wanted, streams)
    unfinished = folder.with_name(f'{folder.name}.unfinished')
    counts = Counts(commands=sum(len(stream.times_ns) for stream in streams))
    writer: RecordedWriter | None = None
    rule: PairingRule | None = None
    for path, stream in zip(paths, streams, strict=True):
        with _images(path, wanted, by_stamp, folder.parent) as images:
            rule = rule or _rule(wanted, stream, images)
            counts.images += len(images.times_ns) + images.refused
            counts.refused += images.refused
            proprioception = _proprioception(path, wanted, by_stamp)
            if writer is None:
                names = proprioception.names if proprioception else ()
                description = _describe(wanted, stream, used, rule, names, source)
                writer = RecordedWriter(unfinished, description, overwrite=True)
            if proprioception is not None:
                images = _with_proprioception(images, proprioception, rule, path)
            values = stream.values[:, used]
            for episode in pair(images.times_ns, stream.times_ns, values, rule):
                _add(writer, images, episode, proprioception, rule)
                counts.frames += len(episode.frames)
                counts.episodes += 1
    assert writer is not None and rule is not None
    writer.close()
    if not counts.episodes:
        raise BagError(
            f'{wanted.bags}: no two images are a step of {rule.model_dt:g} s apart while commands '
            'are in force; is --model-dt a multiple of the camera period, and are the clocks of '
            'images and commands the same (--clock log)?'
        )
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return counts


def report(counts: Counts | None) -> None:
    """Say what became of the messages."""
    if counts is None:
        print('the dataset of these bags is there already', flush=True)
        return
    print(
        f'{counts.images} images ({counts.refused} left out) and {counts.commands} commands make '
        f'{counts.frames} frames in {counts.episodes} episodes',
        flush=True,
    )


def _add(
    writer: RecordedWriter,
    images: ImageStream,
    episode: PairedEpisode,
    proprioception: ProprioceptionStream | None,
    rule: PairingRule,
) -> None:
    values = None
    if proprioception is not None:
        times = images.times_ns[episode.frames]
        values = proprioception.nearest(times, rule.model_dt * NANOSECONDS / 2)[0]
    writer.add(images.images(episode.frames), episode.commands, values)


def _proprioception(
    path: Path, wanted: Extraction, by_stamp: bool
) -> ProprioceptionStream | None:
    if not wanted.proprioception_topic:
        return None
    with BagReader(path) as bag:
        return read_proprioception(
            bag, wanted.proprioception_topic, wanted.proprioception_names, by_stamp
        )


def _with_proprioception(
    images: ImageStream, proprioception: ProprioceptionStream, rule: PairingRule, path: Path
) -> ImageStream:
    """The images with proprioception within half a step; the others are as if they were lost."""
    _, known = proprioception.nearest(images.times_ns, rule.model_dt * NANOSECONDS / 2)
    if not known.all():
        print(f'{path}: {(~known).sum()} images have no proprioception near them', flush=True)
    return replace(images, times_ns=images.times_ns[known], rows=images.rows[known])


@contextmanager
def _images(
    path: Path, wanted: Extraction, by_stamp: bool, scratch: Path
) -> Iterator[ImageStream]:
    """Images of a bag, on the disk until the block ends."""
    scratch.mkdir(parents=True, exist_ok=True)
    kept = scratch / 'images.scratch.npy'
    try:
        with BagReader(path) as bag:
            images = read_images(bag, wanted.image_topic, wanted.image, by_stamp, kept)
        if images.refused:
            print(f'{path}: {images.refused} images left out {images.reason}'.rstrip(), flush=True)
        yield images
    finally:
        kept.unlink(missing_ok=True)


def _command_streams(wanted: Extraction, paths: Sequence[Path]) -> list[CommandStream]:
    """The commands of all bags; they must be of one kind."""
    streams: list[CommandStream] = []
    for path in paths:
        with BagReader(path) as bag:
            stream = read_commands(
                bag,
                wanted.action_topic,
                wanted.action_names,
                wanted.action_kind,
                wanted.clock == 'stamp',
            )
        first = streams[0] if streams else stream
        if (stream.type_name, stream.names) != (first.type_name, first.names):
            raise BagError(
                f'{path}: {wanted.action_topic} is {stream.type_name} with '
                f'{", ".join(stream.names)}, but in {paths[0]} it is {first.type_name} with '
                f'{", ".join(first.names)}'
            )
        streams.append(stream)
    if wanted.clock == 'stamp' and streams[0].type_name not in STAMPED:
        print(f'{streams[0].type_name} has no stamps: the time of the recording is used')
    return streams


def _by_stamp(wanted: Extraction, stream: CommandStream) -> bool:
    """Images must be on the clock of the commands."""
    return wanted.clock == 'stamp' and stream.type_name in STAMPED


def _used_components(wanted: Extraction, streams: Sequence[CommandStream]) -> NDArray[np.int64]:
    """Those that were asked for, or all that ever change."""
    values = np.concatenate([stream.values for stream in streams])
    changing = np.flatnonzero(np.ptp(values, axis=0) > 0)
    if wanted.action_names:
        return np.arange(values.shape[1])
    if not len(changing):
        raise BagError(
            f'{wanted.bags}: all commands on {wanted.action_topic} are the same, from which '
            'nothing can be learned; record motion'
        )
    names = [streams[0].names[index] for index in changing]
    print(f'components of a command that change: {", ".join(names)}', flush=True)
    return changing


def _rule(wanted: Extraction, stream: CommandStream, images: ImageStream) -> PairingRule:
    model_dt = wanted.model_dt
    if not model_dt:
        if len(images.times_ns) < 2:
            raise BagError(f'{wanted.bags}: a single image is too little data')
        model_dt = round(float(np.median(np.diff(images.times_ns))) / NANOSECONDS, 3)
    rule = PairingRule(
        stream.kind,
        model_dt,
        wanted.frame_skip,
        wanted.lag_s,
        wanted.timeout_s or np.inf,
        wanted.tolerance,
    )
    print(
        f'a model step lasts {model_dt:g} s and holds {wanted.frame_skip} command(s); the robot '
        f'will be commanded at {wanted.frame_skip / model_dt:g} Hz',
        flush=True,
    )
    return rule


def _describe(
    wanted: Extraction,
    stream: CommandStream,
    used: NDArray[np.int64],
    rule: PairingRule,
    proprioception: Sequence[str],
    source: dict[str, object],
) -> Description:
    names = [stream.names[index] for index in used]
    units = wanted.action_units or tuple(_unit(stream, name) for name in names)
    return Description(
        action=RecordedAction(
            kind=stream.kind,
            names=names,
            units=list(units),
            low=list(wanted.action_low) or None,
            high=list(wanted.action_high) or None,
        ),
        image=wanted.image,
        model_dt=rule.model_dt,
        frame_skip=rule.frame_skip,
        proprioception=list(proprioception),
        source=source,
    )


def _unit(stream: CommandStream, name: str) -> str:
    """Units of twists, m/s and rad/s; else unknown."""
    if stream.type_name in (TWIST, TWIST_STAMPED):
        return 'm/s' if name.startswith('linear') else 'rad/s'
    return 'unknown'


def _source(wanted: Extraction, paths: Sequence[Path]) -> dict[str, object]:
    """Tells one extraction from another, and people where the data come from."""
    settings = {
        field.name: getattr(wanted, field.name)
        for field in fields(wanted)
        if field.name not in ('bags', 'image', 'action_kind')
    }
    plain = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }
    sizes = {
        path.name: sum(
            file.stat().st_size for file in ([path] if path.is_file() else path.iterdir())
        )
        for path in paths
    }
    return {
        **plain,
        'action_kind': wanted.action_kind.value if wanted.action_kind else None,
        'image': wanted.image.model_dump(),
        'bags': sizes,
    }
