"""Writing bags so that whatever ends the writing, what was written can be read."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from grasp_ros.bags.message_types import BagError, make_message, typestore

Storage = Literal['mcap', 'sqlite3']

RESERVE_BYTES = 4 << 20
"""Kept on the disk for the end of the bag: a chunk of messages and the index."""

COMMIT_BYTES = 1 << 20
"""Most that a full disk may cost a bag of sqlite3, which loses the transaction that fails."""


class BagWriter:
    """A new bag; a context manager that closes it properly, whatever was raised."""

    def __init__(self, path: Path, storage: Storage = 'mcap', compress: bool = False) -> None:
        """Create the bag.

        Args:
            path: a folder that does not exist yet.
            storage: kind of file.
            compress: with zstd: chunks of mcap, messages of sqlite3.

        Raises:
            BagError: if it cannot be created.
        """
        self.path = path
        self._connections: dict[str, Connection] = {}
        if path.exists():
            raise BagError(f'{path}: exists already; name another folder or remove it')
        plugin = StoragePlugin[storage.upper()]
        self._writer = Writer(path, version=Writer.VERSION_LATEST, storage_plugin=plugin)
        if compress:
            mode = CompressionMode.STORAGE if storage == 'mcap' else CompressionMode.MESSAGE
            self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._reserve = path / '.reserve'
        self._closed = False
        self._pending = 0
        try:
            self._writer.open()
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
        except (OSError, WriterError, sqlite3.Error) as error:
            with suppress(OSError):
                self._reserve.unlink(missing_ok=True)
            raise BagError(f'{path}: cannot be created: {_reason(error)}') from error

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, topic: str, type_name: str, time_ns: int, message: Any) -> None:
        """Write a message of `rosbags`.

        Raises:
            BagError: if the disk is full or fails; the bag is closed, what it holds can be read.
        """
        data = typestore().serialize_cdr(message, type_name)
        self.write_raw(topic, type_name, time_ns, bytes(data))

    def write_fields(
        self, topic: str, type_name: str, time_ns: int, fields: dict[str, Any]
    ) -> None:
        """Write a message made of these fields, the others zero; errors as `write`."""
        self.write(topic, type_name, time_ns, make_message(type_name, **fields))

    def write_raw(self, topic: str, type_name: str, time_ns: int, data: bytes) -> None:
        """Write a serialized message (CDR); errors as `write`."""
        if self._closed:
            raise BagError(f'{self.path}: the bag is closed')
        position = self._position()
        try:
            self._writer.write(self._connection(topic, type_name), time_ns, data)
            self._pending += len(data)
            if self._pending >= COMMIT_BYTES:
                self._commit()
        except (OSError, sqlite3.Error) as error:
            self._rescue(position)
            raise BagError(
                f'{self.path}: {_reason(error)}; the bag ends here, what it holds can be read'
            ) from error

    def close(self) -> None:
        """Finish the bag; once, however often it is called.

        Raises:
            BagError: if the disk fails.
        """
        if self._closed:
            return
        self._closed = True
        position = self._position()
        try:
            self._reserve.unlink(missing_ok=True)
            self._writer.close()
        except (OSError, sqlite3.Error) as error:
            with suppress(Exception):
                self._rewind(position)
                self._writer.close()
            raise BagError(f'{self.path}: cannot be finished: {_reason(error)}') from error

    def _connection(self, topic: str, type_name: str) -> Connection:
        known = self._connections.get(topic)
        if known is None:
            store = typestore()
            if type_name not in store.fielddefs:
                raise BagError(
                    f'{self.path}: {topic} is of type {type_name}, whose definition is not known; '
                    'leave the topic out'
                )
            known = self._writer.add_connection(topic, type_name, typestore=store)
            self._connections[topic] = known
        elif known.msgtype != type_name:
            raise BagError(f'{self.path}: {topic} is of type {known.msgtype}, not {type_name}')
        return known

    def _position(self) -> int:
        storage = self._writer.storage
        return storage.bio.tell() if isinstance(storage, McapWriter) else 0

    def _rewind(self, position: int) -> None:
        """Cut off a chunk of which only a part reached the disk; it is still in memory."""
        storage = self._writer.storage
        if isinstance(storage, McapWriter):
            storage.bio.seek(position)
            storage.bio.truncate()

    def _commit(self) -> None:
        """Keep what sqlite3 has so far: an interrupted transaction would lose all of it."""
        self._pending = 0
        storage = self._writer.storage
        if isinstance(storage, Sqlite3Writer):
            storage.conn.commit()

    def _rescue(self, position: int) -> None:
        """Free the reserve and finish the bag with it."""
        self._closed = True
        with suppress(Exception):
            self._reserve.unlink(missing_ok=True)
            self._rewind(position)
            self._recount()
            self._writer.close()

    def _recount(self) -> None:
        """Have the metadata say what sqlite3 has kept."""
        storage = self._writer.storage
        if isinstance(storage, Sqlite3Writer):
            kept = dict(
                storage.conn.execute('SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id')
            )
            self._writer.counts = {key: kept.get(key, 0) for key in self._writer.counts}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return 'the disk is full'
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
