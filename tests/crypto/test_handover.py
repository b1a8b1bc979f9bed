"""The key of a job reaches the process that drew the keys for it, and nobody else."""

from __future__ import annotations

import pytest

from airbundle.crypto.handover import Receiver, hand_over
from airbundle.crypto.sealed_log import seal_entry
from airbundle.crypto.suites import CNSA2, STANDARD, SUITES, Suite
from airbundle.errors import FormatError, NoKeyError

JOB, KEY = bytes(range(16)), bytes(range(32))
each_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


@each_suite
def test_who_asked_gets_it(suite: Suite) -> None:
    receiver = Receiver(suite, JOB)
    sealed = hand_over(suite, receiver.public, JOB, KEY)
    assert receiver.open(sealed) == KEY
    assert KEY not in sealed
    assert hand_over(suite, receiver.public, JOB, KEY) != sealed
    assert repr(receiver) == "Receiver(...)"


@each_suite
def test_nobody_else_does(suite: Suite) -> None:
    receiver = Receiver(suite, JOB)
    sealed = hand_over(suite, receiver.public, JOB, KEY)
    for other in (Receiver(suite, JOB), Receiver(suite, JOB[::-1])):
        with pytest.raises(NoKeyError):
            other.open(sealed)
    for damaged in (sealed[:-1], sealed + b"x", b"", bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(NoKeyError):
            receiver.open(damaged)
    with pytest.raises(NoKeyError):
        receiver.open(hand_over(suite, receiver.public, JOB[::-1], KEY))


def test_keys_that_are_none_are_refused() -> None:
    public = Receiver(STANDARD, JOB).public
    for wrong in (b"", public[:-1], public + b"x", Receiver(CNSA2, JOB).public, public[:-32] + bytes(32),
                  b"\xff" * len(public)):
        with pytest.raises(FormatError):
            hand_over(STANDARD, wrong, JOB, KEY)


def test_no_log_can_have_the_purpose_of_the_key() -> None:
    with pytest.raises(ValueError, match="cannot be the purpose"):
        seal_entry(KEY, 0, b"", "job", suite=STANDARD)
