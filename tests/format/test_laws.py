"""Laws of every structure: what is written is read as it was, and what is read is written as it was.

The second law runs on mutations of valid bytes: whatever a parser accepts has one spelling. So no two readers can see
two documents in one, and nothing rides along unsigned.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.codec import planes
from airbundle.codec.engines import best_engine
from airbundle.codec.erasure import Layout, encode_blocks, recover
from airbundle.codec.record import encode_record, recover_record
from airbundle.crypto.envelope import parse_preamble
from airbundle.crypto.keyfiles import parse_public, write_public
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import FormatError
from airbundle.format import encoding
from airbundle.format.block import FIELDS_AT, parse_header
from airbundle.format.catalog import Table, parse_body, parse_table, write_body
from airbundle.format.cost import parse_cost
from airbundle.format.dsse import parse_envelope, write_envelope
from airbundle.format.manifest import parse_manifest, write_manifest
from airbundle.format.preamble import write_preamble_bytes
from airbundle.format.segment import Trailer, parse_index, parse_trailer
from airbundle.format.statement import STATEMENT_TYPE, parse_statement, write_statement
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable


def _index_again(raw: bytes) -> bytes:
    index = parse_index(raw, Trailer(53, len(raw), 2))
    return encoding.encode(index)


def _header_again(raw: bytes) -> bytes:
    header = parse_header(raw, {1: 32, 2: 48})
    return (raw[:FIELDS_AT] + header.geometry.packed(header.kind) + header.index.to_bytes(4, "little")
            + header.payload_length.to_bytes(4, "little"))


def _named_again(raw: bytes) -> bytes:
    named = parse_public(raw)
    return write_public(named.name, named.public)


AGAIN: dict[str, Callable[[bytes], bytes]] = {
    "envelope": lambda raw: write_envelope(parse_envelope(raw, STATEMENT_TYPE)),
    "statement": lambda raw: write_statement(parse_statement(raw)),
    "table": lambda raw: encoding.encode(Table(parse_table(raw, catalog_number=2))),
    "manifest": lambda raw: write_manifest(parse_manifest(raw)),
    "index": _index_again,
    "preamble": lambda raw: write_preamble_bytes(parse_preamble(raw)),
    "public key": _named_again,
    "trailer": lambda raw: parse_trailer(raw, 5000).packed(),
    "block header": _header_again,
    "cost": lambda raw: parse_cost(raw).packed(),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_read_is_written_as_it_was(name: str) -> None:
    seeds, random_, taken = TARGETS[name].seeds(), random.Random(name), 0
    for _ in range(1500):
        raw = mutated(random_, random_.choice(seeds), seeds)
        if name in {"trailer", "block header", "cost"}:
            size = len(seeds[0])
            raw = raw[:size].ljust(size, b"\0")
        try:
            again = AGAIN[name](raw)
        except FormatError:
            continue
        taken += raw not in seeds
        assert again == raw
    for seed in seeds[:1]:
        assert AGAIN[name](seed) == seed
    assert taken or name == "public key", "nothing was accepted: the law was not tried"


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 40))
def test_the_body_of_a_catalog(table: bytes, sealed: bytes, zeros: int) -> None:
    found, rest = parse_body(write_body(table, sealed) + bytes(zeros))
    assert (found, bytes(rest)) == (table, sealed)


@given(st.binary(max_size=97_280))
@settings(max_examples=10)
def test_records(content: bytes) -> None:
    raw = encode_record(content, suite_number=1, hash_by_suite=hash_by_suite, engine=best_engine())
    assert recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine()).content == content


@given(st.data())
def test_any_promised_erasures_come_back(data: Any) -> None:
    """Any m blocks of each stripe, whatever the shape."""
    n = data.draw(st.integers(1, 300))
    stripes = data.draw(st.integers(-(-n // 128), max(-(-n // 128), min(n, 6))))
    k = -(-n // stripes)
    layout = Layout(n=n, k=k, m=data.draw(st.integers(2, 20)), stripes=stripes)
    random_ = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    blocks = np.zeros((layout.count, 24), np.uint8)
    blocks[:n] = random_.integers(0, 256, (n, 24))
    encode_blocks(best_engine(), layout, blocks)
    whole, lost = blocks.copy(), np.zeros(layout.count, np.bool_)
    for stripe in range(stripes):
        members = np.concatenate([layout.data_blocks(stripe), layout.parity_blocks(stripe)])
        lost[random_.permutation(members)[:layout.m]] = True
    blocks[lost] = 0xEE
    assert not recover(best_engine(), layout, blocks, lost).any()
    assert (blocks == whole).all()


SPECIAL = {2: (0x7F80, 0xFF80, 0x7FC1, 0x7F81, 0x0001, 0x8000, 0x7C00, 0x7E01, 0xFFFF),  # NaN with payloads, subnormals
           4: (0x7F800001, 0xFFC12345, 0x7F800000, 0x00000001, 0x80000000, 0x807FFFFF, 0xFFFFFFFF)}


@pytest.mark.parametrize("width", [2, 4])
@given(st.data())
def test_planes_and_their_inverse(width: int, data: Any) -> None:
    words = np.array(data.draw(st.lists(st.sampled_from(SPECIAL[width]) | st.integers(0, 256 ** width - 1),
                                        max_size=60)), planes.word_type(width))
    out = np.zeros((width, words.size), np.uint8)
    planes.split(words, out, planes.new_scratch())
    again = np.zeros_like(words)
    planes.join(out, again, planes.new_scratch())
    assert (again == words).all()

