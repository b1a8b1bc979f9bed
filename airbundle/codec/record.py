"""The statement's bytes under a code that corrects unknown errors (spec chapter 10).

A record is read where nothing else is left to say which bytes are wrong: three copies, each a frame of 191 rows and 64
rows of parity, each column a codeword. Any hole of 64 KiB and 5 % of random wrong bytes at once are survived.

Digests come first; the code is only used where none matches, and what comes out of it has to match its digest too
(R-3). The suite is read from the corrected frame, never guessed. Decoding needs at most 2052 codewords, some 10 s.
"""

from __future__ import annotations

import enum
import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import reedsolo

from airbundle.codec.galois import GENERATOR, POLYNOMIAL, invert, multiply, systematic
from airbundle.errors import FormatError
from airbundle.format.block import DIGEST_AT, FIELDS_AT, FRONT, MAGIC, Kind, carries_digest
from airbundle.format.limits import KIB, STATEMENT_MAX, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from airbundle.codec.engines import Engine

    Bytes = NDArray[np.uint8]
    HashBySuite = Callable[[int], Callable[..., bytes]]

COPIES: Final = 3
COPY_SIZE: Final = 128 * KIB
RECORD_SIZE: Final = COPIES * COPY_SIZE

_WIDTH: Final = 513
_ROWS: Final = 255
_PARITY: Final = 64
_CONTENT_ROWS: Final = _ROWS - _PARITY
_FRAME_SIZE: Final = _CONTENT_ROWS * _WIDTH
_CONTENT_AT: Final = 64
_HEADER: Final = struct.Struct("<HBBI")
_CORRECTABLE: Final = _PARITY // 2


class CopyState(enum.StrEnum):
    """How one copy of a record was found."""

    INTACT = "intact"
    CORRECTED = "corrected"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class RecordReading:
    """What a record holds, and how each of its three copies was found."""

    content: bytes
    suite_number: int
    copies: tuple[CopyState, ...]


def encode_record(content: bytes, *, suite_number: int, hash_by_suite: HashBySuite, engine: Engine) -> bytes:
    """The record of `content`, 384 KiB. Raises FormatError for content of more than 95 KiB."""
    if len(content) > STATEMENT_MAX:
        raise FormatError(f"{len(content)} bytes do not fit into a record", rule="R-2")
    digested = _HEADER.pack(VERSION, suite_number, Kind.RECORD, len(content)) + content
    digested = digested.ljust(_FRAME_SIZE - FIELDS_AT, b"\0")
    digest = hash_by_suite(suite_number)(FRONT + digested).ljust(FIELDS_AT - DIGEST_AT, b"\0")
    frame = np.frombuffer(MAGIC + digest + digested, np.uint8)
    return _copy_of(frame, engine).tobytes() * COPIES


def intact_copy(copy: Buffer, *, hash_by_suite: HashBySuite) -> bytes:
    """The content of one copy that begins with its magic and matches its digest. Raises FormatError, K-1 or R-3."""
    return _parse(np.frombuffer(memoryview(copy).cast("B"), np.uint8)[:_FRAME_SIZE], hash_by_suite)[0]


def recover_record(raw: Buffer, *, hash_by_suite: HashBySuite, engine: Engine) -> RecordReading:
    """Read a record of any length: damaged, cut off, or with bytes behind it.

    `hash_by_suite` gives the hash of a suite and raises FormatError for one that is not known. Raises FormatError:
    K-1 if all that can be read is of an unknown suite, R-3 if nothing can be read.
    """
    view = memoryview(raw).cast("B")
    present = min(len(view), RECORD_SIZE)
    copies = np.zeros((COPIES, COPY_SIZE), np.uint8)
    copies.reshape(-1)[:present] = np.frombuffer(view[:present], np.uint8)
    frame, content, suite_number = _read(copies, hash_by_suite, engine)
    whole = _copy_of(frame, engine)
    states = tuple(_state(copy, whole, present - at * COPY_SIZE) for at, copy in enumerate(copies))
    return RecordReading(content, suite_number, states)


def _read(copies: Bytes, hash_by_suite: HashBySuite, engine: Engine) -> tuple[Bytes, bytes, int]:
    """A frame that matches its digest, its content and its suite. R-2: first from digests alone, then by the code."""
    for copy in copies:
        frame = copy[:_FRAME_SIZE]
        try:
            return (frame, *_parse(frame, hash_by_suite))
        except FormatError:
            continue
    refusal = FormatError("no copy of the record can be read", rule="R-3")
    first, second, third = copies
    for copy in (*copies, np.where(second == third, second, first)):  # the last one: what two of three agree on
        corrected = _corrected(copy, engine)
        if corrected is None:
            continue
        try:
            return (corrected, *_parse(corrected, hash_by_suite))
        except FormatError as error:
            refusal = error if error.rule == "K-1" else refusal
    raise refusal


def _parse(frame: Bytes, hash_by_suite: HashBySuite) -> tuple[bytes, int]:
    """Content and suite of a frame. Raises FormatError if it does not match its digest (R-3) or its table."""
    raw = frame.tobytes()
    version, suite_number, kind, length = _HEADER.unpack_from(raw, FIELDS_AT)
    if raw[:DIGEST_AT] != MAGIC or version != VERSION or kind != Kind.RECORD:
        raise FormatError("not a record", rule="R-3")
    if not carries_digest(raw, hash_by_suite(suite_number)):
        raise FormatError("a record that does not match its digest", rule="R-3")
    if length > STATEMENT_MAX:
        raise FormatError(f"a record of {length} bytes", rule="R-2")
    if raw[_CONTENT_AT + length :] != bytes(len(raw) - _CONTENT_AT - length):
        raise FormatError("a record with bytes behind its content", rule="R-2")
    return raw[_CONTENT_AT : _CONTENT_AT + length], suite_number


def _copy_of(frame: Bytes, engine: Engine) -> Bytes:
    """R-1: the frame, its parity, and zeros, shape (128 KiB,)."""
    copy = np.zeros(COPY_SIZE, np.uint8)
    copy[:_FRAME_SIZE] = frame
    rows = _rows(copy)
    engine.combine(systematic(_ROWS, _PARITY), rows, range(_CONTENT_ROWS), range(_CONTENT_ROWS, _ROWS))
    return copy


def _corrected(copy: Bytes, engine: Engine) -> Bytes | None:
    """The frame with up to 32 wrong bytes a column put right, or None if a column has more, or it is no record.

    Damage lies in runs: the rows in which some columns were wrong are taken for the wrong ones of all others, before
    those are decoded one by one.
    """
    rows = _rows(copy).copy()
    bad = _no_codewords(rows, engine)
    wrong: set[int] = set()
    while bad.size:
        first, bad = int(bad[0]), bad[1:]
        if first >= len(MAGIC) and rows[0, :len(MAGIC)].tobytes() != MAGIC:  # as where a copy was cut off: no record
            return None
        try:
            codeword = np.frombuffer(_decoder().decode(rows[:, first].tobytes())[1], np.uint8)
        except reedsolo.ReedSolomonError:
            return None
        found = set(np.flatnonzero(codeword != rows[:, first]).tolist()) - wrong
        rows[:, first] = codeword
        if found and len(found | wrong) <= _CORRECTABLE:
            wrong |= found
            made_anew = _without(rows, sorted(wrong), engine)
            still = _no_codewords(made_anew, engine)
            fitting = np.setdiff1d(bad, still)
            rows[:, fitting] = made_anew[:, fitting]
            bad = np.intersect1d(bad, still)
    return rows[:_CONTENT_ROWS].reshape(-1)


def _no_codewords(rows: Bytes, engine: Engine) -> NDArray[np.intp]:
    """The columns that are no codewords, in order."""
    return np.flatnonzero((_rows(_copy_of(rows[:_CONTENT_ROWS].reshape(-1), engine)) != rows).any(axis=0))


def _without(rows: Bytes, wrong: list[int], engine: Engine) -> Bytes:
    """The rows with those at `wrong`, at most 64, made anew from others: a column wrong only there is a codeword then.

    With at most 32 of them it is the one that decoding gives, since no other is that near.
    """
    matrix, made = systematic(_ROWS, _PARITY), rows.copy()
    lost = [row for row in wrong if row < _CONTENT_ROWS]
    known = [row for row in range(_CONTENT_ROWS) if row not in wrong]
    helping = [row for row in range(_CONTENT_ROWS, _ROWS) if row not in wrong][:len(lost)]
    if lost:
        parity = matrix[[row - _CONTENT_ROWS for row in helping]]
        terms = np.concatenate([parity[:, known], np.eye(len(lost), dtype=np.uint8)], axis=1)
        engine.combine(multiply(invert(parity[:, lost]), terms), rows, known + helping, lost, out_blocks=made)
    parity_rows = [row for row in wrong if row >= _CONTENT_ROWS]
    engine.combine(matrix[[row - _CONTENT_ROWS for row in parity_rows]], made, range(_CONTENT_ROWS), parity_rows)
    return made


@functools.cache
def _decoder() -> Any:
    return reedsolo.RSCodec(_PARITY, nsize=_ROWS, fcr=0, prim=POLYNOMIAL, generator=GENERATOR, c_exp=8)


def _state(copy: Bytes, whole: Bytes, present: int) -> CopyState:
    """Compare a copy, of which `present` bytes were there, with what it should be."""
    wrong = copy != whole
    wrong[max(present, 0) :] = True
    if not wrong.any():
        return CopyState.INTACT
    worst = int(np.count_nonzero(_rows(wrong), axis=0).max())
    return CopyState.CORRECTED if worst <= _CORRECTABLE else CopyState.LOST


def _rows(copy: NDArray[Any]) -> NDArray[Any]:
    """The codewords of a copy are the columns of this view, shape (255, 513)."""
    return copy[: _ROWS * _WIDTH].reshape(_ROWS, _WIDTH)
