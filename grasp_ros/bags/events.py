"""From a bag's messages to what happens to the node, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grasp_ros.bags.errors import BagError
from grasp_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, stamp_ns
from grasp_ros.bags.reader import BagReader, Recorded
from grasp_ros.images import ImageError, lazy_decoder, read_picture

Clock = Literal['log', 'stamp']
LONGEST_GAP_NS = 3600 * 10**9


@dataclass(frozen=True, eq=False)
class ImageSeen:
    """A camera picture arrived.

    Attributes:
        time_ns: when.
        stamp_ns: acquisition time; 0 where the camera gave none.
        decode: gives (h, w, 3) uint8 RGB, or raises ImageError.
    """

    time_ns: int
    stamp_ns: int
    decode: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class GoalGiven:
    """A goal picture (h, w, 3) uint8 RGB arrived."""

    time_ns: int
    picture: NDArray[np.uint8]


@dataclass(frozen=True)
class Refused:
    """A picture arrived that cannot be used; `image` or `goal`, and why."""

    time_ns: int
    what: Literal['image', 'goal']
    reason: str


Event = ImageSeen | GoalGiven | Refused


def is_image(event: Event) -> bool:
    """Whether a camera picture arrived, be it a usable one or not."""
    return isinstance(event, ImageSeen) or (isinstance(event, Refused) and event.what == 'image')


@dataclass(frozen=True)
class Source:
    """Where in a bag camera and goal are.

    Attributes:
        image_topic: of the camera.
        goal_topic: of the goals; not read where there is a `goal_file`.
        goal_file: a picture that is the goal from the beginning, or None.
        clock: whether time is when messages were recorded, or their stamps.
    """

    image_topic: str = 'image'
    goal_topic: str = 'goal_image'
    goal_file: Path | None = None
    clock: Clock = 'log'


def check(bag: BagReader, source: Source) -> int:
    """See before the work begins whether everything is there; returns the number of images.

    Raises:
        BagError: if a topic is missing or of a wrong type.
        ImageError: if the goal's file cannot be used.
    """
    image_topic, _ = _topics(bag, source)
    if source.goal_file is not None:
        read_picture(source.goal_file)
    return bag.topics[image_topic][1]


def events(bag: BagReader, source: Source) -> Iterator[Event]:
    """What happens to the node.

    Raises:
        BagError: as `check`, or if the bag is corrupt or its time jumps.
        ImageError: as `check`.
    """
    image_topic, topics = _topics(bag, source)
    goal = read_picture(source.goal_file) if source.goal_file is not None else None
    before: int | None = None
    for item in bag.messages(topics):
        time_ns = item.time_ns
        if source.clock == 'stamp':
            time_ns = stamp_ns(item.message) or before or time_ns
        if before is not None:
            if abs(time_ns - before) > LONGEST_GAP_NS:
                raise BagError(
                    f'{bag.path}: time jumps by {(time_ns - before) / 1e9:.0f} s at {before} ns on '
                    f'{item.topic}; cut the bag there, or choose another --clock'
                )
            time_ns = max(time_ns, before)
        elif goal is not None:
            yield GoalGiven(time_ns, goal)
        before = time_ns
        yield _event(item, time_ns, item.topic == image_topic)


def _event(item: Recorded, time_ns: int, is_image: bool) -> Event:
    try:
        decode = lazy_decoder(item.message, item.type_name == COMPRESSED_IMAGE)
        if is_image:
            return ImageSeen(time_ns, stamp_ns(item.message), decode)
        return GoalGiven(time_ns, decode())
    except ImageError as error:
        return Refused(time_ns, 'image' if is_image else 'goal', str(error))


def _topics(bag: BagReader, source: Source) -> tuple[str, list[str]]:
    """The camera's topic, and all to be read."""
    types = (IMAGE, COMPRESSED_IMAGE)
    image_topic = bag.require(source.image_topic, types, '--image-topic')
    if source.goal_file is not None:
        return image_topic, [image_topic]
    argument = '--goal-topic; or give a picture with --goal'
    return image_topic, [image_topic, bag.require(source.goal_topic, types, argument)]
