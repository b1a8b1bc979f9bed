"""Hostile numbers in every length field, validly signed where that is needed: refused before anything is allocated."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from airbundle.codec.engines import best_engine
from airbundle.codec.galois import systematic
from airbundle.crypto.suites import STANDARD
from airbundle.errors import AirbundleError, DamagedError, FormatError
from airbundle.format import encoding
from airbundle.format.block import FRONT
from airbundle.format.catalog import Table
from airbundle.format.segment import TRAILER
from airbundle.media import volume as names
from tests.transfer.forge import Lies, forge, little_memory
from tests.transfer.workshop import Keys, Packed, block_of, digests, noise, overwrite, with_digest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory

replace = msgspec.structs.replace
HUGE = (2**31, 2**32 - 1, 2**40, 2**53 - 1)


def refused(bundle: Packed, target: Path) -> AirbundleError:
    """The same refusal, without memory, from verify, with a key, unpack and repair."""
    with little_memory():
        error = bundle.refused(4, opened=True)
        with pytest.raises(DamagedError):
            bundle.unpack(target)
    assert not target.exists()
    return error


def test_an_honest_forgery_is_a_bundle(keys: Keys, tmp_path: Path) -> None:
    bundle = forge(tmp_path / "drive", keys, Lies())
    with little_memory():
        bundle.verify(opened=True)
        bundle.unpack(tmp_path / "back")
    assert (tmp_path / "back" / "b").read_bytes() == b"second " * 50


ROWS = [(field, value) for field in ("k", "m", "stripes", "block_size", "body") for value in (0, 1, 129, *HUGE)]
RULES = {"k": {"B-2"}, "m": {"B-2", "B-3"}, "stripes": {"B-2"}, "block_size": {"B-1", "B-2"}, "body": {"B-2", "B-3"}}


def legal(field: str, value: int) -> bool:
    return (field, value) in {("k", 1), ("stripes", 1)}


@pytest.mark.parametrize(("field", "value"), [pair for pair in ROWS if not legal(*pair)])
def test_row_of_the_table(keys: Keys, tmp_path: Path, field: str, value: int) -> None:
    def table(raw: bytes) -> bytes:
        rows = msgspec.json.decode(raw, type=Table).rows
        return encoding.encode(Table(tuple(replace(row, **{field: value}) for row in rows)))

    error = refused(forge(tmp_path / "drive", keys, Lies(table=table)), tmp_path / "back")
    assert isinstance(error, FormatError)
    assert error.rule in RULES[field]


@pytest.mark.parametrize(("field", "value"), [pair for pair in ROWS if not legal(*pair)])
def test_row_of_the_catalog_in_the_statement(keys: Keys, tmp_path: Path, field: str, value: int) -> None:
    def statement(honest: Any) -> Any:
        return replace(honest, catalog=replace(honest.catalog, **{field: value}))

    error = refused(forge(tmp_path / "drive", keys, Lies(statement=statement)), tmp_path / "back")
    assert error.rule in RULES[field] | {"G-2"}


@pytest.mark.parametrize("where", ["table", "statement"])
@pytest.mark.parametrize("stripes", [600, 2**20, 2**32 - 1])
def test_a_segment_in_which_only_the_size_is_wrong(keys: Keys, tmp_path: Path, where: str, stripes: int) -> None:
    """All of B-2 holds; B-3 is what stands before the buffer."""
    giant = {"k": 128, "m": 2, "stripes": stripes, "block_size": 4096, "body": 128 * stripes * (4096 - 128)}

    def table(raw: bytes) -> bytes:
        rows = msgspec.json.decode(raw, type=Table).rows
        return encoding.encode(Table(tuple(replace(row, **giant) for row in rows)))

    def statement(honest: Any) -> Any:
        return replace(honest, catalog=replace(honest.catalog, **giant))

    lies = Lies(table=table) if where == "table" else Lies(statement=statement)
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "B-3"


ORDER = [("number", 7, "G-1"), ("number", 2**53 - 1, "G-1"), ("role", "catalog", "G-1"), ("volume", 0, "G-1"),
         ("role", "data", "G-6"), ("role", "parity", "G-6"), ("group", 1, "G-6"), ("group", 2**53 - 1, "G-6"),
         ("position", 1, "G-6"), ("position", 2**53 - 1, "G-6")]


@pytest.mark.parametrize(("field", "value", "rule"), ORDER)
def test_order_of_the_table(keys: Keys, tmp_path: Path, field: str, value: Any, rule: str) -> None:
    def table(raw: bytes) -> bytes:
        rows = msgspec.json.decode(raw, type=Table).rows
        return encoding.encode(Table(tuple(replace(row, **{field: value}) for row in rows)))

    assert refused(forge(tmp_path / "drive", keys, Lies(table=table)), tmp_path / "back").rule == rule


@pytest.mark.parametrize("value", [2**27, 2**32, 2**63, 2**64 - 1])
@pytest.mark.parametrize("which", [0, 1])
def test_lengths_in_the_body_of_the_catalog(keys: Keys, tmp_path: Path, value: int, which: int) -> None:
    def body(honest: bytes) -> bytes:
        at = 0 if which == 0 else 8 + int.from_bytes(honest[:8], "little")
        return honest[:at] + struct.pack("<Q", value) + honest[at + 8:]

    error = refused(forge(tmp_path / "drive", keys, Lies(body=body)), tmp_path / "back")
    assert error.rule == ("L-2", "L-3")[which]


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("value", [2**20, 2**31, 2**32 - 1])
def test_trailer(keys: Keys, tmp_path: Path, at: int, value: int) -> None:
    def trailer(raw: bytes) -> bytes:
        fields = list(TRAILER.unpack(raw))
        fields[at] = value * (2**31 if at < 2 else 1)
        return TRAILER.pack(*fields)

    assert refused(forge(tmp_path / "drive", keys, Lies(trailer=trailer)), tmp_path / "back").rule == (
        "S-11", "L-1", "S-15")[at]


@pytest.mark.parametrize("field", ["length", "sealed"])
@pytest.mark.parametrize("value", [0, 2**20 + 17, *HUGE])
def test_chunk_rows(keys: Keys, tmp_path: Path, field: str, value: int) -> None:
    lies = Lies(row=lambda row: replace(row, **{field: value}))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "S-14"


@pytest.mark.parametrize("change", [{"start": 2**53 - 1}, {"length": 2**53 - 1}, {"files": ()}, {"chunks": ()},
                                    {"start": 1}, {"length": 1}])
def test_index(keys: Keys, tmp_path: Path, change: dict[str, Any]) -> None:
    lies = Lies(index=lambda index: replace(index, **change))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule in {"S-13", "G-5"}


@pytest.mark.parametrize("size", [2**40, 2**53 - 1, 601])
def test_sizes_of_files(keys: Keys, tmp_path: Path, size: int) -> None:
    lies = Lies(manifest=lambda honest: replace(honest, files=(replace(honest.files[0], size=size), honest.files[1])))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "G-5"


def test_a_slice_of_more_than_it_may_have(keys: Keys, tmp_path: Path) -> None:
    size = 2**28 + 1
    lies = Lies(manifest=lambda honest: replace(
        honest, files=(replace(honest.files[0], size=size),), segments=(replace(honest.segments[0], length=size),)))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "G-5"


@pytest.mark.parametrize(("at", "value"), [(at, value) for at in (1, 2, 86, 87) for value in (0, 65, 255)
                                           if (at, value) != (2, 0)])
def test_counts_and_lengths_of_the_preamble(keys: Keys, tmp_path: Path, at: int, value: int) -> None:
    lies = Lies(preamble=lambda raw: raw[:at] + bytes([value]) + raw[at + 1:])
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule in {"K-5", "K-6"}


@pytest.mark.parametrize("suite", [0, 2, 65, 255])
def test_the_suite_of_the_preamble(keys: Keys, tmp_path: Path, suite: int) -> None:
    bundle = forge(tmp_path / "drive", keys, Lies(preamble=lambda raw: bytes([suite]) + raw[1:]))
    assert bundle.refused(5).rule == "K-2"


@pytest.mark.parametrize("length", [0, 2**17 + 1, *HUGE])
def test_length_of_the_preamble(keys: Keys, tmp_path: Path, length: int) -> None:
    lies = Lies(statement=lambda honest: replace(honest, preamble=replace(honest.preamble, length=length)))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "E-1"


NUMBERS = [b"-1", b"1.5", b"1e3", b"9007199254740992", b"18446744073709551616", b"1" * 4000, b'"1"', b"null", b"[]"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", [b'"created":1700000000', b'"revision":0', b'"airbundle":1', b'"lose":0'])
def test_numbers_in_the_statement(keys: Keys, tmp_path: Path, number: bytes, field: bytes) -> None:
    def payload(honest: bytes) -> bytes:
        assert field in honest
        return honest.replace(field, field[:field.index(b":") + 1] + number)

    assert refused(forge(tmp_path / "drive", keys, Lies(payload=payload)), tmp_path / "back").rule == "E-1"


@pytest.mark.parametrize("payload", [b"", b"{}", b"[" * 9000, b"{" * 9000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
                                     b"\xff", b"x" * 16_000])
def test_statements_that_are_none(keys: Keys, tmp_path: Path, payload: bytes) -> None:
    assert isinstance(refused(forge(tmp_path / "drive", keys, Lies(payload=lambda _: payload)), tmp_path / "back"),
                      FormatError)


HEADER = [(60, "<B", 255), (60, "<B", 0), (61, "<B", 255), (61, "<B", 0), (64, "<I", 2**32 - 1), (64, "<I", 0),
          (68, "<I", 2**32 - 1), (68, "<I", 0), (68, "<I", 2**31), (88, "<Q", 2**64 - 1), (112, "<Q", 2**64 - 1),
          (112, "<Q", 0), (120, "<I", 2**32 - 1), (124, "<I", 2**32 - 1)]


@pytest.mark.parametrize(("at", "kind", "value"), HEADER)
def test_block_headers(small: Packed, tmp_path: Path, at: int, kind: str, value: int) -> None:
    """Nobody signed these, so they are damage; with digests that fit, in the blocks that say what a file is."""
    before = digests(small.volume)
    for path in (small.segment(0), small.volume / names.CATALOG_NAME):
        count = path.stat().st_size // 4096
        for number in (0, count - 1):
            block = bytearray(block_of(path, number, 4096))
            struct.pack_into(kind, block, at, value)
            overwrite(path, number * 4096, with_digest(bytes(block)))
    with little_memory(512 << 20):
        small.heals(tmp_path / "back", before=before)


@pytest.mark.parametrize("length", [97_281, 2**31, 2**32 - 1])
def test_length_of_the_record(small: Packed, tmp_path: Path, length: int) -> None:
    """A record whose digest and parity fit and whose length does not."""
    before, path = digests(small.volume), small.volume / names.RECORD_NAME
    frame = bytearray(path.read_bytes()[:191 * 513])
    struct.pack_into("<I", frame, 60, length)
    frame[8:40] = STANDARD.hash(FRONT, bytes(frame[56:]))
    rows = np.zeros((255, 513), np.uint8)
    rows[:191] = np.frombuffer(bytes(frame), np.uint8).reshape(191, 513)
    best_engine().combine(systematic(255, 64), rows, range(191), range(191, 255))
    path.write_bytes(rows.tobytes().ljust(131_072, b"\0") * 3)
    with little_memory(512 << 20):
        small.heals(tmp_path / "back", before=before)
    path.write_bytes(rows.tobytes().ljust(131_072, b"\0") * 3)
    (small.volume / names.STATEMENT_NAME).unlink()
    small.refused(5)


@pytest.mark.parametrize("name", [names.STATEMENT_NAME, names.RECORD_NAME])
def test_a_large_statement(small: Packed, tmp_path: Path, name: str) -> None:
    before = digests(small.volume)
    with open(small.volume / name, "r+b") as file:
        file.write(noise(2000) if name == names.STATEMENT_NAME else b"")
        file.truncate(3 << 30)
    with little_memory(512 << 20):
        small.heals(tmp_path / "back", before=before)
