"""Progress: phases, bytes, and the question whether to go on. Knows no terminal."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.errors import InterruptedRunError
from airbundle.stages import Stages, bound_of

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Tick:
    """`done` of `total` bytes of a `phase` (a verb in -ing form, the word that people see), or a `warning` of it.

    `bound_by` is what the run has waited for most so far, `drive` or `processor`.
    """

    phase: str
    done: int
    total: int
    warning: str = ""
    bound_by: str = ""


class Meter:
    """Counts bytes from several threads and tells `report`; `stop` makes every worker end at its next chunk."""

    def __init__(self, report: Callable[[Tick], None] | None = None) -> None:
        self._report = report or (lambda _: None)
        self._lock = threading.Lock()
        self._phase, self._done, self._total = "", 0, 0
        self._stopped = False
        self.stages = Stages()
        self.warnings: list[str] = []

    def begin(self, phase: str, total: int) -> None:
        """A new phase of `total` bytes."""
        with self._lock:
            self._phase, self._done, self._total = phase, 0, total
            self._report(Tick(phase, 0, total))

    def add(self, count: int) -> None:
        """`count` more bytes of this phase are done. Raises InterruptedRunError after `stop`."""
        self.alive()
        with self._lock:
            self._done += count
            self._report(Tick(self._phase, self._done, self._total, bound_by=bound_of(self.stages.balance)))

    def warn(self, text: str) -> None:
        """Say at once what somebody should know while it goes on; the result has it too."""
        with self._lock:
            self.warnings.append(text)
            self._report(Tick(self._phase, self._done, self._total, text))

    def stop(self) -> None:
        """From now on `alive` raises."""
        self._stopped = True

    def alive(self) -> None:
        """Raises InterruptedRunError after `stop`."""
        if self._stopped:
            raise InterruptedRunError("stopped")
