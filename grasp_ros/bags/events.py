"""From a bag's messages to what happens to the node, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grasp_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, BagError, stamp_ns
from grasp_ros.bags.reader import BagReader, Recorded
from grasp_ros.messages.images import ImageError, lazy_decoder, read_image
from grasp_ros.messages.proprioception import ProprioceptionError, ProprioceptionLayout
from grasp_ros.models.sensors import CAMERA, PROPRIOCEPTION

Clock = Literal['log', 'stamp']
MAX_GAP_NS = 3600 * 10**9


@dataclass(frozen=True, eq=False)
class ImageSeen:
    """A camera image arrived.

    Attributes:
        time_ns: when.
        stamp_ns: acquisition time; 0 where the camera gave none.
        decode: gives (h, w, 3) uint8 RGB, or raises ImageError.
        camera: its name.
    """

    time_ns: int
    stamp_ns: int
    decode: Callable[[], NDArray[np.uint8]]
    camera: str = CAMERA


@dataclass(frozen=True, eq=False)
class ProprioceptionReceived:
    """Proprioception arrived.

    Attributes:
        time_ns: when.
        stamp_ns: acquisition time; 0 where there is none.
        values: (Q,) in physical units.
    """

    time_ns: int
    stamp_ns: int
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GoalGiven:
    """A goal image (h, w, 3) uint8 RGB arrived."""

    time_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Refused:
    """Something arrived that cannot be used; what, and why."""

    time_ns: int
    what: Literal['image', 'goal', 'proprioception']
    reason: str


Event = ImageSeen | ProprioceptionReceived | GoalGiven | Refused


def is_image(event: Event) -> bool:
    """Return whether a camera image arrived, be it a usable one or not."""
    return isinstance(event, ImageSeen) or (isinstance(event, Refused) and event.what == 'image')


@dataclass(frozen=True)
class Source:
    """Where in a bag cameras, proprioception and goal are.

    Attributes:
        image_topics: of each camera, by its name.
        goal_topic: of the goals; not read where there is a `goal_file`.
        goal_file: an image that is the goal from the beginning, or None.
        clock: whether time is when messages were recorded, or their stamps.
        layout: reads proprioception; None for a model without.
        proprioception_topic: of it.
    """

    image_topics: Mapping[str, str] = field(default_factory=lambda: {CAMERA: 'image'})
    goal_topic: str = 'goal_image'
    goal_file: Path | None = None
    clock: Clock = 'log'
    layout: ProprioceptionLayout | None = None
    proprioception_topic: str = PROPRIOCEPTION


def check(bag: BagReader, source: Source) -> int:
    """See before the work begins whether everything is there; returns the number of images.

    Raises:
        BagError: if a topic is missing or of a wrong type.
        ImageError: if the goal's file cannot be used.
    """
    cameras = _topics(bag, source).cameras
    if source.goal_file is not None:
        read_image(source.goal_file)
    return sum(bag.topics[topic][1] for topic in cameras)


def events(bag: BagReader, source: Source) -> Iterator[Event]:
    """Event that the node sees.

    Raises:
        BagError: as `check`, or if the bag is corrupt or its time jumps.
        ImageError: as `check`.
    """
    topics = _topics(bag, source)
    goal = read_image(source.goal_file) if source.goal_file is not None else None
    before: int | None = None
    for item in bag.messages(topics.all):
        time_ns = item.time_ns
        if source.clock == 'stamp':
            time_ns = _stamp_ns(item) or before or time_ns
        if before is not None:
            if abs(time_ns - before) > MAX_GAP_NS:
                raise BagError(
                    f'{bag.path}: time jumps by {(time_ns - before) / 1e9:.0f} s at {before} ns on '
                    f'{item.topic}; cut the bag there, or choose another --clock'
                )
            time_ns = max(time_ns, before)
        elif goal is not None:
            yield GoalGiven(time_ns, goal)
        before = time_ns
        if item.topic == topics.proprioception and source.layout is not None:
            yield _proprioception_event(item, time_ns, source.layout)
        else:
            yield _image_event(item, time_ns, topics.cameras.get(item.topic))


def _image_event(item: Recorded, time_ns: int, camera: str | None) -> Event:
    """Source of an image; without a camera it is a goal."""
    try:
        decode = lazy_decoder(item.message, item.type_name == COMPRESSED_IMAGE)
        if camera is not None:
            return ImageSeen(time_ns, stamp_ns(item.message), decode, camera)
        return GoalGiven(time_ns, decode())
    except ImageError as error:
        return Refused(time_ns, 'goal' if camera is None else 'image', str(error))


def _proprioception_event(item: Recorded, time_ns: int, layout: ProprioceptionLayout) -> Event:
    try:
        return ProprioceptionReceived(time_ns, _stamp_ns(item), layout.decode(item.message))
    except ProprioceptionError as error:
        return Refused(time_ns, 'proprioception', str(error))


def _stamp_ns(item: Recorded) -> int:
    """Nanoseconds of the header; 0 of a type without."""
    return stamp_ns(item.message) if hasattr(item.message, 'header') else 0


@dataclass(frozen=True)
class _Topics:
    """Names as recorded; cameras by topic; empty where nothing is to be read."""

    cameras: dict[str, str]
    proprioception: str = ''
    goal: str = ''

    @property
    def all(self) -> list[str]:
        return [*self.cameras, *filter(None, (self.proprioception, self.goal))]


def _topics(bag: BagReader, source: Source) -> _Topics:
    types = (IMAGE, COMPRESSED_IMAGE)
    cameras = {
        bag.require(topic, types, '--image-topic'): camera
        for camera, topic in source.image_topics.items()
    }
    proprioception = goal = ''
    if source.layout is not None:
        proprioception = bag.require(
            source.proprioception_topic,
            (source.layout.message_type,),
            '--proprioception-topic, proprioception.type',
        )
    if source.goal_file is None:
        argument = '--goal-topic; or give an image with --goal'
        goal = bag.require(source.goal_topic, types, argument)
    return _Topics(cameras, proprioception, goal)
