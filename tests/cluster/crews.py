"""Executors of these tests: one that hands everything to a function, and workers that have the keys, and lie."""

from __future__ import annotations

import base64
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from airbundle.crypto.suites import STANDARD, suite_by_number
from airbundle.transfer import orders, units
from airbundle.transfer.orders import Answer, Done, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Given(Executor):
    """Calls `carry(letter)` in a thread for each letter that comes in, whatever function was to be called."""

    def __init__(self, carry: Callable[[bytes], Any] = units.run_unit) -> None:
        self._carry, self._pool = carry, ThreadPoolExecutor(2)
        self.letters: list[bytes] = []
        self.replies: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert fn is units.run_unit
        (letter,) = args
        assert not kwargs
        return self._pool.submit(self._noted, letter)

    def _noted(self, letter: bytes) -> Any:
        self.letters.append(letter)
        reply = self._carry(letter)
        self.replies.append(reply)
        return reply

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


class Liar:
    """A worker with the key of the job, as every worker has it, that does another thing than it was asked to."""

    def __init__(self) -> None:
        self.lied = 0
        self.orders: list[Order] = []

    def order(self, order: Order) -> Order:
        """What it carries out instead."""
        return order

    def answer(self, _order: Order, answer: Answer) -> Answer:
        """What it says instead."""
        return answer

    def __call__(self, raw: bytes) -> bytes:
        letter = orders.parse_letter(raw)
        suite = suite_by_number(letter.suite)
        desk = units._desks.of(suite, letter.job)
        key = desk.key_of(letter.keys)
        if key is None:
            return units.run_unit(raw)
        asked = orders.open_order(key, letter.serial, letter.sealed, suite)
        self.orders.append(asked)
        does = self.order(asked)
        says = self.answer(asked, units._carried_out(desk, does))
        self.lied += does != asked
        return orders.write_letter(orders.Answered(orders.seal_answer(key, letter.serial, says, suite)))


def with_produced(answer: Answer, **changed: Any) -> Answer:
    """The same answer, with other fields in what was produced first."""
    assert isinstance(answer, Done), answer
    first, *rest = answer.made
    return msgspec.structs.replace(answer, made=(msgspec.structs.replace(first, **changed), *rest))


def spellings(secret: bytes) -> set[bytes]:
    """How a secret may stand in a text: raw, hexadecimal, base64 at any place of a longer text, as Python writes it."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode(),
             str(list(secret))[1:-1].encode()}
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret)
        inner = text[-(-shift * 8 // 6):len(text) - 4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def require_absent(secrets: Iterable[bytes], *places: bytes) -> None:
    """None of the secrets stands anywhere in `places`."""
    for secret in secrets:
        for spelling in spellings(secret):
            for place in places:
                assert spelling not in place, f"{spelling!r} is there"


def keys_held(more: int = 0) -> int:
    """In a worker: how many jobs it has the key of, after so many `more` have come."""
    for number in range(more):
        units._desks.of(STANDARD, bytes([number]) * 16)
    return sum(desk.key is not None for desk in units._desks._desks.values())
