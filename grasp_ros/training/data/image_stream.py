"""The pictures of a bag's topic, brought to a model's size and kept on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.bags.errors import BagError
from grasp_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, stamp_ns
from grasp_ros.bags.reader import BagReader
from grasp_ros.messages.images import ImageError, lazy_decoder, to_model_input
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.training.data.growing_array import GrowingArray

LONGEST_DISORDER_NS = 10**9


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Pictures in the order of their times.

    Attributes:
        times_ns: (I,), rising.
        rows: (I,) where each is in the file.
        file: (.., h, w, 3) uint8, memory-mapped.
        refused: pictures that could not be decoded, or had the time of another.
        reason: of the first that could not be decoded; empty for none.
    """

    times_ns: NDArray[np.int64]
    rows: NDArray[np.int64]
    file: NDArray[np.uint8]
    refused: int
    reason: str

    def pictures(self, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures (F, h, w, 3) of these numbers."""
        return np.array(self.file[self.rows[frames]])


def read_images(
    bag: BagReader, topic: str, pipeline: ImagePipeline, by_stamp: bool, path: Path
) -> ImageStream:
    """Read all pictures of a bag.

    Args:
        bag: to read.
        topic: of the camera.
        pipeline: size of the pictures, and how they are brought to it.
        by_stamp: whether times are those of the messages' headers, or of the recording.
        path: file that the pictures are kept in.

    Raises:
        BagError: if the topic is missing or of another type, no picture can be decoded, or time
            jumps back.
    """
    name = bag.require(topic, (IMAGE, COMPRESSED_IMAGE), '--image-topic')
    size = (pipeline.height, pipeline.width)
    kept = GrowingArray(path, np.uint8, (*size, 3))
    times: list[int] = []
    refused, reason = 0, ''
    messages = tqdm(
        bag.messages([name]), desc=bag.path.name, total=bag.topics[name][1], unit='image'
    )
    for item in messages:
        try:
            rgb = lazy_decoder(item.message, item.type_name == COMPRESSED_IMAGE)()
        except ImageError as error:
            refused, reason = refused + 1, reason or str(error)
            continue
        kept.append(_resized(rgb, pipeline)[None])
        times.append(item.time_ns if not by_stamp else stamp_ns(item.message) or item.time_ns)
    kept.close()
    if not times:
        raise BagError(f'{bag.path}: no picture on {name} can be decoded: {reason}')
    found = np.array(times, np.int64)
    if (np.maximum.accumulate(found) - found).max() > LONGEST_DISORDER_NS:
        raise BagError(
            f'{bag.path}: the time of {name} jumps back; cut the bag there, or use the time of '
            'the recording with --clock log'
        )
    rising, rows = np.unique(found, return_index=True)
    file = np.asarray(np.lib.format.open_memmap(path, mode='r'))
    return ImageStream(rising, rows, file, refused + len(found) - len(rising), reason)


def _resized(rgb: NDArray[np.uint8], pipeline: ImagePipeline) -> NDArray[np.uint8]:
    """As the node does it."""
    if rgb.shape[:2] == (pipeline.height, pipeline.width):
        return rgb
    scaled = to_model_input(rgb, pipeline.height, pipeline.width, pipeline.fit)
    return np.rint(scaled.transpose(1, 2, 0) * 255).astype(np.uint8)
