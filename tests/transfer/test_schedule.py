"""Turns: who may go on, in which order, and what happens to those who wait when one fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from airbundle.errors import InterruptedRunError
from airbundle.transfer.schedule import Turns

PATIENCE = 20


def test_one_after_another_in_the_order_of_their_numbers() -> None:
    turns, seen = Turns(), []

    def work(number: int) -> None:
        with turns.enter(number):
            seen.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [3, 1, 2, 0, 7, 6, 5, 4]))
    assert seen == list(range(8))


def test_never_more_than_the_width_at_a_time() -> None:
    turns = Turns(2)
    both, leave = threading.Barrier(2, timeout=PATIENCE), threading.Event()
    inside: list[int] = []

    def work(number: int) -> None:
        with turns.enter(number):
            inside.append(number)
            if number < 2:
                both.wait()  # the first two are inside together
                assert leave.wait(PATIENCE)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, number) for number in (0, 1, 2, 3)]
        while len(inside) < 2 and not any(future.done() for future in done):
            pass
        assert sorted(inside) == [0, 1]
        leave.set()
        for future in done:
            future.result(PATIENCE)
    assert sorted(inside) == [0, 1, 2, 3]


def test_whoever_waits_for_one_that_failed_stops() -> None:
    turns = Turns()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: turns.enter(1).__enter__())
        turns.stop()
        with pytest.raises(InterruptedRunError):
            waiting.result(PATIENCE)
    with pytest.raises(InterruptedRunError), turns.enter(0):
        pytest.fail("entered after the stop")
