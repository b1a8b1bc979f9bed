"""Work on devices that may never answer: on threads that nobody waits for at the end.

A read of a sick stick can hang in the kernel, and nothing ends it but the stick. So the watcher's own thread touches no
device: what does runs here, and what does not come back in time counts as no answer.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Final, TypeVar

from airbundle.errors import MediumError

if TYPE_CHECKING:
    from collections.abc import Callable

    Result = TypeVar("Result")

HANGING_MAX: Final = 64
"""Threads at a time; so many devices that do not answer are a broken machine."""


class Background:
    """Runs each call on a thread of its own."""

    def __init__(self) -> None:
        self._room = threading.Semaphore(HANGING_MAX)

    def begin(self, work: Callable[[], Result], then: Callable[[], None] = lambda: None) -> Future[Result]:
        """Start `work`; `then` is called when it is done, on its thread."""
        future: Future[Result] = Future()
        if not self._room.acquire(blocking=False):
            future.set_exception(MediumError("too many devices do not answer", hint="unplug those that hang"))
            then()
            return future

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            finally:
                self._room.release()
                then()

        threading.Thread(target=run, name="device", daemon=True).start()
        return future

    def ask(self, work: Callable[[], Result], seconds: float, otherwise: Result) -> Result:
        """What `work` gives; `otherwise` if that takes longer than `seconds`."""
        try:
            return self.begin(work).result(seconds)
        except (NotInTime, MediumError):
            return otherwise
