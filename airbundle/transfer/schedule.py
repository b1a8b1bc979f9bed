"""Run one task per segment on a few threads, in order of their numbers, and stop all of them at the first error.

`Turns` is how tasks wait for one another inside: one after another where that is needed, never more at a time than
there are cores where only those count.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from airbundle.errors import InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airbundle.transfer.progress import Meter

    Task = TypeVar("Task")
    Result = TypeVar("Result")


class Turns:
    """Lets `width` tasks in at a time, the lower numbers first; every task from 0 on has to come, once.

    Task n waits until n + 1 - `width` tasks have left. That lets the lowest in always, so nobody waits for ever.
    """

    def __init__(self, width: int = 1) -> None:
        self._open = width
        self._stopped = False
        self._news = threading.Condition()

    @contextmanager
    def enter(self, number: int) -> Iterator[None]:
        """The turn of task `number`. Raises InterruptedRunError if it will never come, as one before it failed."""
        with self._news:
            self._news.wait_for(lambda: number < self._open or self._stopped)
            if self._stopped:
                raise InterruptedRunError("stopped")
        yield
        with self._news:
            self._open += 1
            self._news.notify_all()

    def stop(self) -> None:
        """A task failed: whoever waits stops too."""
        with self._news:
            self._stopped = True
            self._news.notify_all()


def run_all(tasks: Iterable[Task], work: Callable[[Task], Result], *, workers: int, meter: Meter) -> Iterator[Result]:
    """Results in the order of `tasks`. Never more than twice `workers` tasks are begun or waiting to be taken.

    The first error (also Ctrl-C) stops the others at their next chunk, waits for them, and is raised.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="airbundle") as pool:
        pending: deque[Future[Result]] = deque()
        source = iter(tasks)
        try:
            while True:
                for task in itertools.islice(source, 2 * workers - len(pending)):
                    pending.append(pool.submit(work, task))
                if not pending:
                    return
                yield pending.popleft().result()
        except BaseException as error:  # noqa: BLE001 - raised again when all workers have stopped
            meter.stop()
            for future in pending:
                future.cancel()
            pool.shutdown(wait=True)
            raise _cause(error, pending) from None


def _cause(error: BaseException, pending: Iterable[Future[Result]]) -> BaseException:
    """The real error: a worker that merely heard of the stop is not it."""
    if isinstance(error, InterruptedRunError):
        for future in pending:
            other = future.exception() if future.done() and not future.cancelled() else None
            if other is not None and not isinstance(other, InterruptedRunError):
                return other
    return error
