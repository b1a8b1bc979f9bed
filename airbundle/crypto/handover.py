"""The key of one job, handed to processes elsewhere that share its work.

Such a process draws HPKE keys of its own for each job and shows the public bytes; whoever runs the job seals the job
key to them. So the job key, and the bundle key that travels under it, are nowhere in the clear but in the memory of
those who use them: no file, no argument and no log has them.

Nobody vouches for the public bytes. Whoever can change what passes between the two can put keys of its own there, and
gets the job key: the sealing holds against whoever only reads.
"""

from __future__ import annotations

import secrets
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from airbundle.crypto.suites import tag
from airbundle.errors import FormatError, NoKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.suites import Suite


class Receiver:
    """Keys of one process for one job; `public` is all that it shows. The seeds never leave it."""

    __slots__ = ("_job", "_seeds", "_suite", "public")

    def __init__(self, suite: Suite, job: bytes, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._suite, self._job = suite, job
        self._seeds = tuple(entropy(half.seed_size) for half in suite.kem.halves)
        self.public = b"".join(half.public_of(seed) for half, seed in zip(suite.kem.halves, self._seeds, strict=True))

    def __repr__(self) -> str:
        return "Receiver(...)"

    def open(self, sealed: bytes) -> bytes:
        """The job key. Raises NoKeyError for what was not sealed to these keys for this job."""
        try:
            return self._suite.kem.open(self._seeds, sealed, _info(self._suite, self._job))
        except (InvalidTag, ValueError):
            raise NoKeyError("what came as the key of this job is damaged, or is for another process") from None


def key_name(suite: Suite, public: bytes) -> bytes:
    """By what the keys of a `Receiver` are told from others."""
    return suite.hash(public)[:16]


def hand_over(suite: Suite, public: bytes, job: bytes, key: bytes) -> bytes:
    """The job key sealed to the keys of a `Receiver`. Raises FormatError for bytes that are no such keys."""
    halves = suite.kem.halves
    ends = list(accumulate((half.public_size for half in halves), initial=0))
    if len(public) != ends[-1]:
        raise FormatError(f"the keys of a worker have {len(public)} bytes")
    keys = [public[start:end] for start, end in pairwise(ends)]
    for half, part in zip(halves, keys, strict=True):
        try:
            half.load(part)
        except ValueError:
            raise FormatError("a key of a worker cannot be used") from None
    return suite.kem.seal(keys, key, _info(suite, job))


def _info(suite: Suite, job: bytes) -> bytes:
    return tag("job") + bytes([suite.number]) + job
