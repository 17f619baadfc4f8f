"""From callbacks to the disk: a queue bounded in bytes, and the thread that writes."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from grasp_ros.bags.errors import BagError
from grasp_ros.bags.writer import BagWriter


@dataclass(frozen=True)
class Item:
    """A serialized message of `topic`, received at `time_ns`."""

    topic: str
    type_name: str
    time_ns: int
    data: bytes


class BagQueue:
    """Takes messages without ever waiting for the disk; what does not fit is dropped and counted.

    Attributes:
        written: messages on the disk, by topic.
        dropped: messages lost to a slow disk, by topic.
        error: why writing ended early, or None.
    """

    def __init__(self, open_bag: Callable[[], BagWriter], capacity_bytes: int) -> None:
        """Start the thread, which makes the bag.

        Args:
            open_bag: called on the writing thread: sqlite3 ties a file to a thread.
            capacity_bytes: of the messages that wait.

        Raises:
            BagError: if the bag cannot be created.
        """
        self.written: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.error: BagError | None = None
        self._capacity = capacity_bytes
        self._waiting_bytes = 0
        self._items: deque[Item] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._write_all, args=(open_bag,), daemon=True)
        self._thread.start()
        self._opened.wait()
        if self.error is not None:
            raise self.error

    def put(self, item: Item) -> None:
        """Have a message written."""
        with self._condition:
            full = self._waiting_bytes + len(item.data) > self._capacity
            if full or self._closing or self.error is not None:
                self.dropped[item.topic] += 1
                return
            self._items.append(item)
            self._waiting_bytes += len(item.data)
            self._condition.notify()

    def close(self) -> None:
        """Write what waits, finish the bag; `error` says whether that went well."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _write_all(self, open_bag: Callable[[], BagWriter]) -> None:
        try:
            bag = open_bag()
        except BagError as error:
            self.error = error
            return
        finally:
            self._opened.set()
        item: Item | None = None
        try:
            with bag:
                while (item := self._next()) is not None:
                    bag.write_raw(item.topic, item.type_name, item.time_ns, item.data)
                    self.written[item.topic] += 1
        except BagError as error:
            with self._condition:
                self.error = error
                self.dropped.update(lost.topic for lost in self._items)
                self._items.clear()
                if item is not None:
                    self.dropped[item.topic] += 1

    def _next(self) -> Item | None:
        """The next message; None when the bag is to be closed."""
        with self._condition:
            while not self._items and not self._closing:
                self._condition.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._waiting_bytes -= len(item.data)
            return item
