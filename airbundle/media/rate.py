"""How fast a drive takes what is written, and whether that has collapsed.

A stick whose cache is full, that is hot or that is dying writes on at a small part of its rate, for hours. So a drive
that takes less than a fifth of its own median for more than ten seconds is told of at once, and once. A fifth: sticks
with a fast cache fall to a half or a third when that is full, and that is how they are. Ten seconds: shorter pauses,
in which flash tidies up, are how they are too. What a file takes counts with its sync, since before that the bytes
may only be in memory; so a slow file is seen while it is written past the page cache, and when it is synced otherwise.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

_SHARE: Final = 5
_SECONDS: Final = 10.0
_FILES_LEAST: Final = 5
_FILES_KEPT: Final = 255
_BYTES_LEAST: Final = 256 * 1024
"""What is smaller says more of seeks and syncs than of a rate."""


class WriteRate:
    """The rate of one drive, file after file. Its caller has the lock of the drive."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_FILES_KEPT)
        self._slow = 0.0
        self._told = False

    def judge(self, count: int, seconds: float, *, finished: bool) -> str:
        """`count` bytes of a file took so long. Gives what is to be told now, mostly nothing."""
        if count < _BYTES_LEAST or seconds <= 0:
            return ""
        rate = count / seconds
        usual = statistics.median(self._rates) if len(self._rates) >= _FILES_LEAST else 0.0
        slow = self._slow + seconds if rate * _SHARE < usual else 0.0
        if finished:
            self._slow = slow
            self._rates.append(rate)
        if slow <= _SECONDS or self._told:
            return ""
        self._told = True
        return (f"this drive has taken {rate / 1e6:,.1f} MB/s for {slow:,.0f} seconds, and took {usual / 1e6:,.1f} "
                "before: it is hot, its cache is full, or it is failing")
