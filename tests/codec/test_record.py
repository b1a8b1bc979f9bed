"""Records: the layout of chapter 10, and what they survive."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import reedsolo

from airbundle.codec import record as record_module
from airbundle.codec.engines import NumpyEngine, best_engine
from airbundle.codec.galois import systematic
from airbundle.codec.record import RECORD_SIZE, CopyState, RecordReading, encode_record, recover_record
from airbundle.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KIB = 1024
COPY = 128 * KIB
FRAME = 191 * 513
CODED = 255 * 513
INTACT, CORRECTED, LOST = CopyState.INTACT, CopyState.CORRECTED, CopyState.LOST
ENGINE = best_engine()


def hash_by_suite(number: int) -> Callable[..., bytes]:
    """Suite 1 with 32 bytes and suite 2 with 48, as in chapter 2."""
    if number == 1:
        return lambda *parts: hashlib.sha256(b"".join(parts)).digest()
    if number == 2:
        return lambda *parts: hashlib.sha384(b"".join(parts)).digest()
    raise FormatError("unknown suite", rule="K-1")


def encode(content: bytes, suite_number: int = 1) -> bytes:
    return encode_record(content, suite_number=suite_number, hash_by_suite=hash_by_suite, engine=ENGINE)


def read(raw: bytes | bytearray | NDArray[np.uint8]) -> RecordReading:
    return recover_record(bytes(raw), hash_by_suite=hash_by_suite, engine=ENGINE)


CONTENT = np.random.default_rng(7).integers(0, 256, 95 * KIB, np.uint8).tobytes()
RECORD = encode(CONTENT)


def damaged() -> NDArray[np.uint8]:
    return np.frombuffer(RECORD, np.uint8).copy()


def kill(record: NDArray[np.uint8], *copies: int) -> None:
    for copy in copies:
        record[copy * COPY : (copy + 1) * COPY] ^= 0x5A


def spoil(record: NDArray[np.uint8], copy: int, column: int, rows: list[int]) -> None:
    for row in rows:
        record[copy * COPY + row * 513 + column] ^= 1 + row % 255


def test_the_layout_is_that_of_the_table() -> None:
    for suite_number, size in ((1, 32), (2, 48)):
        record = encode(b"content", suite_number)
        assert len(record) == RECORD_SIZE == 384 * KIB
        assert record[:COPY] == record[COPY : 2 * COPY] == record[2 * COPY :]
        assert record[:8] == bytes.fromhex("89 41 42 53 0D 0A 1A 0A")
        assert record[8 : 8 + size] == hash_by_suite(suite_number)(record[:8] + bytes(48) + record[56:FRAME])
        assert not any(record[8 + size : 56])
        assert record[56:71] == struct.pack("<HBBI", 1, suite_number, 5, 7) + b"content"
        assert not any(record[71:FRAME])
        assert any(record[FRAME:CODED])
        assert not any(record[CODED:COPY])


def test_columns_are_codewords_of_reedsolo() -> None:
    rows = np.frombuffer(RECORD[:CODED], np.uint8).reshape(255, 513)
    codec = reedsolo.RSCodec(64)
    for column in (0, 1, 255, 512):
        assert bytes(codec.encode(rows[:191, column].tobytes())) == rows[:, column].tobytes()


def test_the_matrix_is_that_of_reedsolo() -> None:
    codec = reedsolo.RSCodec(64)
    for column in range(191):
        unit = bytearray(191)
        unit[column] = 1
        assert bytes(codec.encode(unit)[191:]) == systematic(255, 64)[:, column].tobytes()


def test_engines_write_the_same_record() -> None:
    other = encode_record(CONTENT, suite_number=1, hash_by_suite=hash_by_suite, engine=NumpyEngine())
    assert other == RECORD


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 1000, CONTENT])
@pytest.mark.parametrize("suite_number", [1, 2])
def test_a_whole_record_comes_back(content: bytes, suite_number: int) -> None:
    assert read(encode(content, suite_number)) == RecordReading(content, suite_number, (INTACT,) * 3)


def test_content_of_more_than_95_kib_is_refused() -> None:
    with pytest.raises(FormatError, match="R-2"):
        encode(CONTENT + b"x")


def test_the_code_is_not_used_while_a_digest_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.codec.record._corrected", None)
    record = damaged()
    kill(record, 0, 1)
    assert read(record) == RecordReading(CONTENT, 1, (LOST, LOST, INTACT))


@pytest.mark.parametrize("survivor", [0, 1, 2])
def test_each_copy_alone_is_enough_with_32_wrong_bytes_in_a_column(survivor: int) -> None:
    record = damaged()
    kill(record, *{0, 1, 2} - {survivor})
    rng = np.random.default_rng(survivor)
    for column in (0, 100, 512):
        spoil(record, survivor, column, rng.permutation(255)[:32].tolist())
    states = tuple(CORRECTED if copy == survivor else LOST for copy in range(3))
    assert read(record) == RecordReading(CONTENT, 1, states)
    with pytest.raises(FormatError, match="R-3"):
        read(_with_33_wrong_bytes(record, survivor))


def _with_33_wrong_bytes(record: NDArray[np.uint8], survivor: int) -> NDArray[np.uint8]:
    worse = record.copy()
    whole = np.frombuffer(RECORD, np.uint8)
    right = [row for row in range(255) if worse[survivor * COPY + row * 513] == whole[survivor * COPY + row * 513]]
    spoil(worse, survivor, 0, right[:1])
    return worse


@pytest.mark.parametrize("fill", ["zeros", "ones", "noise"])
@pytest.mark.parametrize(
    "start", [0, 1, 70_000, COPY - 32 * KIB, COPY - 1, COPY, 200_000, 2 * COPY, RECORD_SIZE - 65_536]
)
def test_any_hole_of_64_kib(start: int, fill: str) -> None:
    record = damaged()
    noise = np.random.default_rng(start).integers(0, 256, 64 * KIB, np.uint8)
    fills = {"zeros": np.zeros_like(noise), "ones": np.full_like(noise, 255), "noise": noise}
    record[start : start + 64 * KIB] = fills[fill]
    for copy in range(3):
        spoil(record, copy, 5, [1, 40, 254])
    reading = read(record)
    assert reading.content == CONTENT
    assert CORRECTED in reading.copies
    assert INTACT not in reading.copies


@pytest.mark.parametrize("rows", [(0, 30), (100, 130), (180, 210), (191, 221), (225, 255)])
def test_a_hole_is_filled_by_what_a_few_columns_tell(rows: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 513 columns that are wrong in the same rows some are decoded; by chance a byte of a hole was right."""
    decoded = []
    decoder = record_module._decoder()

    class Counting:
        def decode(self, column: bytes) -> object:
            decoded.append(column)
            return decoder.decode(column)

    monkeypatch.setattr(record_module, "_decoder", Counting)
    record = damaged()
    kill(record, 0, 2)
    record[COPY + rows[0] * 513:COPY + rows[1] * 513] = np.random.default_rng(rows).integers(
        0, 256, (rows[1] - rows[0]) * 513, np.uint8)
    spoil(record, 1, 200, [50, 51])
    assert read(record) == RecordReading(CONTENT, 1, (LOST, CORRECTED, LOST))
    assert len(decoded) <= 4


def test_a_hole_and_5_percent_of_wrong_bytes_at_once() -> None:
    _hole_and_errors(seed=1)


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_many_holes_and_5_percent_of_wrong_bytes_at_once() -> None:
    for seed in range(2, 80):
        _hole_and_errors(seed)


def _hole_and_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    record = damaged()
    start = int(rng.integers(0, RECORD_SIZE - 64 * KIB))
    record[start : start + 64 * KIB] = rng.integers(0, 256, 64 * KIB, np.uint8) * rng.integers(0, 2)
    hit = rng.random(RECORD_SIZE) < 0.05
    record[hit] ^= rng.integers(1, 256, int(hit.sum()), np.uint8)
    reading = read(record)
    assert reading.content == CONTENT, seed
    assert INTACT not in reading.copies, seed


def test_what_two_of_three_copies_agree_on_is_no_record_without_its_parity() -> None:
    """The content of what they agree on fits; a column of its parity has no codeword within 32 bytes."""
    record = damaged()
    for copy in range(3):
        spoil(record, copy, 100, list(range(191, 224)))
        spoil(record, copy, 101, [10 + copy])
    with pytest.raises(FormatError, match="R-3"):
        read(record)


def test_what_two_of_three_copies_agree_on_is_tried_last() -> None:
    """Each copy has a column beyond the bound, at other places."""
    record = damaged()
    for copy in range(3):
        spoil(record, copy, 0, list(range(copy * 80, copy * 80 + 40)))
    assert read(record) == RecordReading(CONTENT, 1, (LOST, LOST, LOST))


@pytest.mark.parametrize(
    ("length", "states"),
    [
        (RECORD_SIZE + 5000, (INTACT, INTACT, INTACT)),
        (RECORD_SIZE - 1, (INTACT, INTACT, CORRECTED)),
        (RECORD_SIZE - 20_000, (INTACT, INTACT, LOST)),
        (2 * COPY, (INTACT, INTACT, LOST)),
        (COPY + 10, (INTACT, LOST, LOST)),
        (CODED, (CORRECTED, LOST, LOST)),
        (CODED - 32 * 513, (CORRECTED, LOST, LOST)),
        (FRAME, (LOST, LOST, LOST)),
    ],
)
def test_records_that_are_cut_off_or_go_on(length: int, states: tuple[CopyState, ...]) -> None:
    raw = (RECORD + bytes(5000))[:length]
    assert read(raw) == RecordReading(CONTENT, 1, states)


def test_a_copy_that_is_cut_off_is_corrected() -> None:
    record = damaged()[: CODED - 30 * 513]
    spoil(record, 0, 3, [7])
    assert read(record) == RecordReading(CONTENT, 1, (CORRECTED, LOST, LOST))


@pytest.mark.parametrize("raw", [b"", b"x", bytes(RECORD_SIZE), RECORD[: FRAME - 64 * 513], RECORD[1:COPY]])
def test_where_nothing_can_be_read(raw: bytes) -> None:
    with pytest.raises(FormatError, match="R-3"):
        read(raw)


def forged(change: Callable[[bytearray], None], *, digest: bool) -> bytearray:
    """A record of the given frame, coded as it should be: only what the frame says is wrong."""
    frame = bytearray(encode(b"content")[:FRAME])
    change(frame)
    if digest:
        frame[8:56] = hash_by_suite(1)(bytes(frame[:8]) + bytes(48) + bytes(frame[56:])).ljust(48, b"\0")
    codec = reedsolo.RSCodec(64)
    rows = np.frombuffer(frame, np.uint8).reshape(191, 513)
    copy = np.zeros(COPY, np.uint8)
    columns = [np.frombuffer(codec.encode(rows[:, column].tobytes()), np.uint8) for column in range(513)]
    copy[:CODED] = np.stack(columns, axis=1).reshape(-1)
    return bytearray(copy.tobytes() * 3)


def put(at: int, new: bytes) -> Callable[[bytearray], None]:
    def change(frame: bytearray) -> None:
        frame[at : at + len(new)] = new

    return change


@pytest.mark.parametrize(
    ("at", "new", "digest", "rule"),
    [
        (0, b"\x88", True, "R-3"),
        (56, b"\2", True, "R-3"),
        (59, b"\4", True, "R-3"),
        (64, b"C", False, "R-3"),
        (55, b"\1", False, "R-3"),
        (58, b"\7", True, "K-1"),
        (60, struct.pack("<I", 97_281), True, "R-3"),
        (60, struct.pack("<I", 6), True, "R-3"),
        (FRAME - 1, b"\1", True, "R-3"),
    ],
)
def test_frames_that_are_coded_well_but_wrong_are_refused(at: int, new: bytes, digest: bool, rule: str) -> None:
    with pytest.raises(FormatError, match=rule):
        read(forged(put(at, new), digest=digest))


def test_the_helper_that_forges_can_write_a_good_record() -> None:
    assert forged(put(64, b"c"), digest=True) == encode(b"content")


def test_a_damaged_suite_number_is_corrected_before_it_is_looked_up() -> None:
    record = damaged()
    for copy in range(3):
        record[copy * COPY + 58] = 9
    assert read(record) == RecordReading(CONTENT, 1, (CORRECTED,) * 3)
