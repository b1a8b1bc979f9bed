"""A bounded set of open files shared by threads: the least used one is closed, but never while it is in use."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

Key = TypeVar("Key", bound="Hashable")


class Descriptors(Generic[Key]):
    """Open files by key; `open_one` opens a key that is not there. Errors of `open_one` pass through."""

    def __init__(self, open_one: Callable[[Key], int], capacity: int) -> None:
        self._open_one = open_one
        self._capacity = capacity
        self._lock = threading.Lock()
        self._open: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # key: (descriptor, users)

    @contextlib.contextmanager
    def borrow(self, key: Key) -> Iterator[int]:
        """The descriptor of `key`, which stays open inside the block."""
        with self._lock:
            fd, users = self._open.get(key, (-1, 0))
            if fd < 0:
                fd = self._open_one(key)
            self._open[key] = (fd, users + 1)
            self._open.move_to_end(key)
            self._shrink()
        try:
            yield fd
        finally:
            with self._lock:
                fd, users = self._open[key]
                self._open[key] = (fd, users - 1)

    def adopt(self, key: Key, fd: int) -> None:
        """Take over a descriptor that is open already."""
        with self._lock:
            self._open[key] = (fd, 0)
            self._shrink()

    def close(self) -> None:
        """Close everything. Nobody may be using it."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1][0])

    def _shrink(self) -> None:
        for key in list(self._open)[: max(0, len(self._open) - self._capacity)]:
            fd, users = self._open[key]
            if users == 0:
                del self._open[key]
                os.close(fd)
