"""Where the time of a run goes: seconds by stage, summed over the threads that spent them.

    with stages("zstd"):
        frame = compress(plane)

A thread that waits for its turn spends nothing. What stands in no stage is Python between the calls.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

STAGES: Final = ("read", "digest", "planes", "zstd", "compare", "seal", "parity", "write", "sync", "read back")
"""In the order of a pack. An unpack reads from the drive, and opens, expands, and writes the other way round."""
OF_MEDIA: Final = frozenset({"read", "write", "sync", "read back"})


class Stages:
    """A clock for each stage. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = dict.fromkeys(STAGES, 0.0)
        self._balance = 0.0

    def __call__(self, stage: str) -> _Span:
        """A context whose time counts for `stage`."""
        return _Span(self, stage)

    def add(self, stage: str, seconds: float) -> None:
        """So much more."""
        with self._lock:
            self._spent[stage] += seconds
            self._balance += seconds if stage in OF_MEDIA else -seconds

    @property
    def balance(self) -> float:
        """Seconds of media less those of work: asked for with every chunk, so nothing is added up."""
        return self._balance

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage that was entered at all, to a millisecond."""
        with self._lock:
            return {stage: round(spent, 3) for stage, spent in self._spent.items() if spent}


class _Span:
    """One stretch of time of one thread."""

    __slots__ = ("_began", "_stage", "_stages")

    def __init__(self, stages: Stages, stage: str) -> None:
        self._stages, self._stage = stages, stage
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stages.add(self._stage, time.perf_counter() - self._began)


def bound_by(seconds: dict[str, float]) -> str:
    """What a user would have to make faster: `drive` or `processor`; nothing where nothing was measured."""
    balance = sum(spent if stage in OF_MEDIA else -spent for stage, spent in seconds.items())
    return bound_of(balance) if seconds else ""


def bound_of(balance: float) -> str:
    """The same for `Stages.balance`."""
    return "drive" if balance > 0 else "processor"
