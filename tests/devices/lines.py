"""What programs in the guest print, as lines with the time at which they came, and waiting for one of them.

One `Exchange` hears all; a `Stream` is the lines of one source, in order, of which each is found once. Nothing here
sleeps or asks again and again: who waits is woken when something came, or when nothing can come any more.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TAIL = 40


class Line(str):
    """A line that the guest printed: where it came from, and when it came, in seconds since the machine was started."""

    __slots__ = ("at", "source")
    at: float
    source: str


class Exchange:
    """Where threads meet: one hears, others wait. `gone` says that the machine has ended."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.gone = False
        self.console: list[str] = []
        self.lines: list[Line] = []

    def wait_for(self, done: Callable[[], bool], timeout: float, otherwise: str) -> None:
        """Until `done`, which is asked after each change; fails with what came last."""
        with self.changed:
            end = time.monotonic() + timeout
            while not done():
                assert not self.gone, f"the machine has ended: {otherwise}\n{self.transcript()}"
                if not self.changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise TimeoutError(f"{otherwise} in {timeout} s\n{self.transcript()}")

    def transcript(self, last: int = TAIL) -> str:
        """The last lines of the guest and of its console, for messages."""
        return "\n".join(["--- console", *self.console[-last:], "--- lines",
                          *(f"{line.at:7.2f} {line.source}: {line}" for line in self.lines[-last:])])


class Stream:
    """The lines of one source; `ended` says that no more can come."""

    def __init__(self, exchange: Exchange, lines: list[Line] | None = None) -> None:
        self.lines: list[Line] = [] if lines is None else lines
        self.ended = False
        self._exchange = exchange
        self._seen = 0

    def expect(self, wanted: Callable[[Line], object] | str, timeout: float = 30, *, since: int | None = None) -> Line:
        """The next line that `wanted` says yes to, or that holds it, among those after the line that was found before.

        `since` names another place to look from, as an index of `lines`. Fails with the last lines when the time is
        over, and at once when no line can come any more.
        """
        looked = self._seen if since is None else since

        def found() -> bool:
            nonlocal looked
            while looked < len(self.lines):
                looked += 1
                line = self.lines[looked - 1]
                if wanted in line if isinstance(wanted, str) else wanted(line):
                    return True
            assert not self.ended, f"it has ended without such a line\n{self._exchange.transcript()}"
            return False

        self._exchange.wait_for(found, timeout, "no such line came")
        self._seen = looked
        return self.lines[looked - 1]


class Command(Stream):
    """A program that was started in the guest; `status` is there when it has ended, negative for a signal."""

    def __init__(self, exchange: Exchange, send_signal: Callable[[int], None]) -> None:
        super().__init__(exchange)
        self.status: int | None = None
        self._send_signal = send_signal

    def signal(self, number: int) -> None:
        """Sends a signal to the program and all that it started in its session's first group."""
        self._send_signal(int(number))

    def wait(self, timeout: float = 30) -> int:
        """Waits for its end and gives its status; all its lines are here then."""
        self._exchange.wait_for(lambda: self.status is not None, timeout, "the command has not ended")
        assert self.status is not None
        return self.status
