"""The workers of one pack, whatever executor they belong to: orders out, answers in, keys, and what fails on the way.

There is no scheduler here. An order goes to the executor, which gives it to some worker. One that has no key of this
job says so, and the same order goes out again with the job key sealed to it. What an executor loses, as when a worker
is killed and it does not try again by itself, goes out again a few times.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from airbundle import errors
from airbundle.crypto.handover import hand_over, key_name
from airbundle.errors import AirbundleError, FormatError, MediumError, UsageError
from airbundle.format.names import shown
from airbundle.transfer import orders
from airbundle.transfer.orders import Answer, KeyWanted, Letter, Refused
from airbundle.transfer.units import forget_jobs, run_unit
from airbundle.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from airbundle.crypto.suites import Suite
    from airbundle.transfer.orders import Done, Order

_ATTEMPTS: Final = 3  # an order that kills whoever carries it out, as for want of memory, must not kill all workers
ASKED_MAX: Final = 100  # any worker may take an order that came back for another one: more often than this is a fault
_WORKERS_MAX: Final = 4096  # keys are kept for each, and each letter to somebody who wants one has all of them
_LOOK_AGAIN: Final = 0.5  # seconds until a thread that waits looks whether another one has failed
_GRACE: Final = 10.0  # seconds for workers that are at it when a pack is stopped

_AGAIN: Final = "run the same command again: it goes on where this one was"


@dataclass(slots=True, eq=False)
class Sent:
    """An order that is under way, and how often it was lost or came back for a key; then what came of it."""

    order: Order
    serial: int
    future: Future[bytes]
    lost: int = 0
    asked: int = 0
    answer: Answer | None = None
    error: BaseException | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will come."""
        return self.answer is not None or self.error is not None


class Crew:
    """Sends orders. Threads may share it. Use as a context: nothing is left under way behind it, where that can be."""

    def __init__(self, executor: Executor, suite: Suite, *, entropy: Callable[[int], bytes],
                 alive: Callable[[], None], asked_max: int = ASKED_MAX) -> None:
        """`alive` raises when the run has been stopped. An order may come back for a key `asked_max` times."""
        self.job = entropy(16)
        self._executor, self._suite, self._alive, self._asked_max = executor, suite, alive, asked_max
        self._key = entropy(32)
        self._keys: dict[bytes, bytes] = {}
        self._serials = itertools.count()
        self._open: set[Sent] = set()
        self._lock = threading.Lock()

    def send(self, order: Order) -> Sent:
        """Give an order to the executor. Raises MediumError if that takes none any more."""
        with self._lock:
            sent = Sent(order, *self._submit(order, {}))
            self._open.add(sent)
        return sent

    def result(self, sent: Sent) -> Done:
        """Wait for the answer. Raises what the worker says, MediumError where no worker carries it out.

        Whoever waits looks after all orders, so that those that came back for a key do not wait for their turn.
        """
        while True:
            with self._lock:
                self._look_after_all()
                left = [other.future for other in self._open]
            self._alive()
            if sent.error is not None:
                raise sent.error
            if isinstance(sent.answer, Refused):
                raise _error_of(sent.answer)
            if sent.answer is not None:
                return sent.answer
            wait(left, timeout=_LOOK_AGAIN, return_when=FIRST_COMPLETED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            left = {sent.future for sent in self._open if not sent.future.cancel()}
        wait(left, timeout=_GRACE)
        forget_jobs(self.job)  # where workers are in this process

    def _submit(self, order: Order, keys: dict[bytes, bytes]) -> tuple[int, Future[bytes]]:
        serial = next(self._serials)
        sealed = orders.seal_order(self._key, serial, order, self._suite)
        letter = orders.write_letter(Letter(self.job, self._suite.number, serial, keys, sealed))
        try:
            return serial, self._executor.submit(run_unit, letter)
        except Exception as error:
            raise _explained(error) from error

    def _look_after_all(self) -> None:
        for sent in sorted((sent for sent in self._open if sent.future.done()), key=lambda sent: sent.serial):
            try:
                sent.answer = self._taken(sent)
                if sent.answer is None:
                    # All keys: whoever takes it now may be another one than the one that asked.
                    sent.serial, sent.future = self._submit(sent.order, dict(self._keys))
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                sent.error = error
            if sent.is_settled:
                self._open.discard(sent)

    def _taken(self, sent: Sent) -> Answer | None:
        """What has come of an order; None if it has to go out again."""
        try:
            raw = sent.future.result()
        except (BrokenExecutor, ImportError, AttributeError) as error:
            raise _explained(error) from error
        except AirbundleError:
            raise
        except Exception as error:  # CancelledError among them
            sent.lost += 1
            if sent.lost >= _ATTEMPTS:
                raise MediumError(f"a unit of work was lost {sent.lost} times: {type(error).__name__}: {error}",
                                  hint=f"look at the logs of the workers; {_AGAIN}") from error
            return None
        return self._read(sent, raw)

    def _read(self, sent: Sent, raw: object) -> Answer | None:
        """The answer in a reply; None for a worker that wants the key, which gets it with the next letter."""
        if not isinstance(raw, bytes):
            raise FormatError(f"an executor gave back {type(raw).__name__} for a letter")
        if orders.version_of(raw) != VERSION:
            raise UsageError(f"a worker runs airbundle {orders.version_of(raw)}, this is {VERSION}",
                             hint="install the same version on all of them")
        reply = orders.parse_reply(raw)
        if not isinstance(reply, KeyWanted):
            return orders.open_answer(self._key, sent.serial, reply.sealed, self._suite)
        sent.asked += 1
        name = key_name(self._suite, reply.public)
        if sent.asked > self._asked_max or (name not in self._keys and len(self._keys) >= _WORKERS_MAX):
            raise MediumError("workers ask for the key of this job again and again",
                              hint="look whether their processes are killed and started anew")
        if name not in self._keys:
            self._keys[name] = hand_over(self._suite, reply.public, self.job, self._key)
        return None


def _explained(error: BaseException) -> AirbundleError:
    """What it means that an executor does not carry out an order."""
    if isinstance(error, (ImportError, AttributeError)):
        return UsageError(f"a worker cannot load airbundle: {error}",
                          hint=f"install airbundle {VERSION} where the workers run")
    return MediumError(f"the workers are gone: {type(error).__name__}: {error}", hint=_AGAIN)


def _error_of(refused: Refused) -> AirbundleError:
    """The error of a worker, as one of this process; says on which machine it was."""
    kind = _CLASSES.get(refused.code, AirbundleError)
    return kind(f"{refused.what} (on {shown(refused.host)})", where=refused.where, hint=refused.hint, rule=refused.rule)


_CLASSES: Final[dict[str, type[AirbundleError]]] = {
    kind.code: kind for kind in (
        errors.UsageError, errors.DamagedError, errors.FormatError, errors.MediumError, errors.PulledError,
        errors.UnreliableDriveError, errors.SourceChangedError)}
