"""Reading bags of ROS's recorder and of `rosbags`: mcap and sqlite3, several files, compressed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader

from grasp_ros.bags.message_types import BagError, message_texts, new_typestore

STORAGE_SUFFIXES = ('.mcap', '.db3', '.zstd')


@dataclass(frozen=True, eq=False)
class Recorded:
    """One message of a bag.

    Attributes:
        topic: as recorded.
        type_name: as 'sensor_msgs/msg/Image'.
        time_ns: when it was recorded.
        message: deserialized.
    """

    topic: str
    type_name: str
    time_ns: int
    message: Any


class BagReader:
    """A bag to read from; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the bag at `path`: a folder with metadata.yaml, or one .mcap or .db3 file.

        Raises:
            BagError: if there is none, or it is corrupt, truncated or empty.
        """
        self.path = path
        _check_kind(path)
        try:
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:  # corrupt files raise errors of many kinds
            raise BagError(f'{path}: {_hint(path, error)}') from error
        try:
            if not self._reader.message_count:
                raise BagError(f'{path}: the bag is empty, it holds no message; record again')
            own = message_texts()
            self._store = new_typestore(
                {
                    connection.msgtype: connection.msgdef.data
                    for connection in self._reader.connections
                    if connection.msgtype in own
                    and connection.msgdef.format == MessageDefinitionFormat.MSG
                }
            )
        except BaseException:
            self._reader.close()
            raise

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    @property
    def topics(self) -> dict[str, tuple[str, int]]:
        """Type name and number of messages of each topic."""
        found: dict[str, tuple[str, int]] = {}
        for connection in self._reader.connections:
            _, count = found.get(connection.topic, ('', 0))
            found[connection.topic] = (connection.msgtype, count + connection.msgcount)
        return dict(sorted(found.items()))

    @property
    def duration_s(self) -> float:
        """From the first message to the last, seconds."""
        return self._reader.duration / 1e9

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return self._reader.start_time

    def require(self, topic: str, type_names: Collection[str], argument: str) -> str:
        """Find a topic, with or without the leading slash.

        Args:
            topic: its name.
            type_names: allowed types.
            argument: what the user would name it with, for the error.

        Returns:
            Its name as recorded.

        Raises:
            BagError: if it is not there or has another type; the message lists what is there.
        """
        wanted = '/' + topic.lstrip('/')
        topics = self.topics
        if wanted not in topics or not topics[wanted][1]:
            raise BagError(
                f'{self.path}: no message on {wanted} ({argument}). The bag holds: '
                f'{self.listing()}'
            )
        if topics[wanted][0] not in type_names:
            raise BagError(
                f'{self.path}: {wanted} ({argument}) is of type {topics[wanted][0]}, not '
                f'{" or ".join(type_names)}. The bag holds: {self.listing()}'
            )
        return wanted

    def has(self, topic: str) -> bool:
        """Return whether there are messages on a topic, named with or without the leading slash."""
        return self.topics.get('/' + topic.lstrip('/'), ('', 0))[1] > 0

    def listing(self) -> str:
        """The topics, for people."""
        return ', '.join(
            f'{topic} ({kind}, {count})' for topic, (kind, count) in self.topics.items()
        )

    def messages(self, topics: Sequence[str]) -> Iterator[Recorded]:
        """Messages of these topics in the order of the recording.

        Raises:
            BagError: if the rest of the bag, or a message, cannot be read.
        """
        for connection, time_ns, data in self._raw(topics):
            yield self._decode(connection, time_ns, data)

    def raw_messages(self, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
        """Topic, time and serialized message (CDR) of each; errors as `messages`."""
        for connection, time_ns, data in self._raw(topics):
            yield connection.topic, time_ns, bytes(data)

    def _raw(self, topics: Sequence[str]) -> Iterator[tuple[Connection, int, bytes]]:
        chosen = [c for c in self._stored_connections() if c.topic in topics]
        iterator = self._reader.messages(chosen) if chosen else iter(())
        after = ''
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                if not after and any(map(self.has, topics)):
                    raise BagError(
                        f'{self.path}: metadata.yaml lists messages on {", ".join(topics)}, but '
                        'the files hold none; run `ros2 bag reindex`'
                    ) from None
                return
            except Exception as error:  # corrupt files raise errors of many kinds
                raise BagError(
                    f'{self.path}: corrupt {after}({_reason(error)}); what came before can be '
                    'saved with `mcap recover` or sqlite3 `.recover`'
                ) from error
            yield item
            after = f'after {item[1]} ns '

    def _stored_connections(self) -> Sequence[Connection]:
        """Connections as the files hold them, not as metadata.yaml lists them.

        The library finds no message where the two differ in the quality of service, as after a
        conversion or with metadata of another version.
        """
        storages = getattr(self._reader.storage, 'storages', None)
        if storages is None:
            return self._reader.connections
        return [connection for storage in storages for connection in storage.connections]

    def _decode(self, connection: Connection, time_ns: int, data: bytes) -> Recorded:
        try:
            message = self._store.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # the library's errors are of many kinds
            raise BagError(
                f'{self.path}: the message on {connection.topic} at {time_ns} ns is no '
                f'{connection.msgtype}: {_reason(error)}'
            ) from error
        return Recorded(connection.topic, connection.msgtype, time_ns, message)


def content_hash(path: Path) -> str:
    """SHA-256 of the bag's storage files in the order of their names."""
    files = [path] if path.is_file() else sorted(
        file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES
    )
    digest = hashlib.sha256()
    for file in files:
        with file.open('rb') as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _check_kind(path: Path) -> None:
    if not path.exists():
        raise BagError(f'{path}: there is no such bag')
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        files = [file.name for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES]
        if not files:
            raise BagError(f'{path}: not a bag: the folder holds neither metadata.yaml nor a bag')
        raise BagError(
            f'{path}: metadata.yaml is missing, the recorder was killed: name the file itself '
            f'({", ".join(files)}), or run `ros2 bag reindex`'
        )
    if path.is_file() and path.suffix == '.bag':
        raise BagError(f'{path}: a bag of ROS 1; convert it first: rosbags-convert --src {path}')


def _hint(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f'cannot be read: {error.strerror}'
    return (
        f'corrupt, truncated or not a bag ({_reason(error)}); record again, or save what is left '
        'with `mcap recover` or `ros2 bag reindex`'
    )


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip('.') or type(error).__name__
