"""safetensors and GGUF: what their writers make passes; holes, overlaps, tails and counts that lie do not."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

import pytest

from airbundle.station.gates.result import Outcome
from airbundle.station.gates.rules import GateRules
from tests.station.gates.examples import DENY, gguf, gguf_text, judge, safetensors, torch_zip, why, with_header


def table(**tensors: tuple[str, list[int], list[int]]) -> dict[str, Any]:
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}
            for name, (dtype, shape, offsets) in tensors.items()}


A = ("F32", [2, 2], [0, 16])
GOOD = {
    "two": safetensors(),
    "none": safetensors({}, b""),
    "padded header": with_header(b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}     ', bytes(3)),
    "scalar": safetensors(table(a=("F64", [], [0, 8])), bytes(8)),
    "empty": safetensors(table(a=("F64", [0, 5], [0, 0]), b=("I8", [1], [0, 1])), bytes(1)),
    "narrow": safetensors(table(a=("F4", [2, 3], [0, 3]), b=("F8_E4M3", [2], [3, 5])), bytes(5)),
    "pickled bytes as numbers": safetensors(table(a=("U8", [4], [0, 4])), b"\x80\x02N."),
}
BAD = {
    "tail": safetensors(tail=b"\0"),
    "zip behind it": safetensors(tail=torch_zip()),
    "short": safetensors(data=bytes(23)),
    "hole": safetensors(table(a=A, b=("F32", [1], [20, 24]))),
    "hole at the begin": safetensors(table(a=("F32", [5], [4, 24]))),
    "overlap": safetensors(table(a=A, b=("F32", [3], [12, 24]))),
    "same place": safetensors(table(a=A, b=A), bytes(16)),
    "size and dtype": safetensors(table(a=("F32", [2, 3], [0, 16])), bytes(16)),
    "half a byte": safetensors(table(a=("F4", [3], [0, 1])), bytes(1)),
    "backwards": safetensors(table(a=("F32", [1], [4, 0])), bytes(4)),
    "negative": safetensors(table(a=("F32", [-1], [0, 4])), bytes(4)),
    "product that wraps": safetensors(table(a=("F32", [1 << 62, 4], [0, 0])), b""),
    "no number": safetensors({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4)),
    "dtype": safetensors(table(a=("F33", [1], [0, 4])), bytes(4)),
    "another field": safetensors({"a": {"dtype": "U8", "shape": [], "data_offsets": [0, 1], "x": 1}}, bytes(1)),
    "metadata": safetensors({"__metadata__": {"a": 1}}, b""),
    "twice": with_header(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[],'
                         b'"data_offsets":[0,1]}}', bytes(1)),
    "field twice": with_header(b'{"a":{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}}', bytes(1)),
    "a list": with_header(b"[]"),
    "begins with a space": with_header(b' {"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', bytes(1)),
    "deep": with_header(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "not closed": with_header(b'{"a":{"dtype":"U8"'),
    "not UTF-8": with_header(b'{"\xff":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', bytes(1)),
    "header of nothing": struct.pack("<Q", 0) + b"{}",
    "header beyond the file": struct.pack("<Q", 100) + b"{}",
    "header of 8 EB": struct.pack("<Q", 1 << 63) + b"{}",
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "nothing": b"",
}


@pytest.mark.parametrize("label", GOOD)
def test_safetensors(label: str) -> None:
    assert judge("a/model.safetensors", GOOD[label], DENY) is Outcome.CLEAN, why("model.safetensors", GOOD[label])
    assert judge("weights", GOOD[label], DENY) is Outcome.CLEAN
    assert judge("model.gguf", GOOD[label], DENY) is Outcome.FINDING
    assert judge("model.safetensors", GOOD[label], GateRules(formats=("gguf",))) is Outcome.FINDING


@pytest.mark.parametrize("label", BAD)
def test_safetensors_that_are_off(label: str) -> None:
    assert judge("model.safetensors", BAD[label], DENY) is Outcome.FINDING


def test_the_header_has_a_limit() -> None:
    raw = with_header(json.dumps({"__metadata__": {"a": "x" * 1000}}).encode())
    assert judge("a.safetensors", raw, GateRules(header_bytes=2000)) is Outcome.CLEAN
    assert judge("a.safetensors", raw, GateRules(header_bytes=1000)) is Outcome.FINDING


@pytest.mark.parametrize("magic", [b"MZ", b"#!", b"\x80\2", b"\x80\4", b"c ", b"V ", b"P ", b"U ", b"X ", b"\x82 ",
                                   b"GG"])
def test_a_header_whose_length_looks_like_something_else(magic: bytes) -> None:
    header = b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
    raw = with_header(header + b" " * (int.from_bytes(magic, "little") - len(header)), bytes(3))
    assert raw.startswith(magic)
    assert judge("model.safetensors", raw, DENY) is Outcome.CLEAN
    assert judge("weights", raw, DENY) is Outcome.CLEAN


@pytest.mark.parametrize("comment", [b"", b"x" * 1000])
def test_numbers_that_end_like_an_archive(comment: bytes) -> None:
    """As a tensor they fit; `zipfile`, and with it a reader of models, would find the archive."""
    archive = torch_zip()[:-2] + struct.pack("<H", len(comment)) + comment
    for tail, outcome in ((b"", Outcome.FINDING), (b"\0", Outcome.CLEAN)):
        data = archive + tail
        raw = safetensors(table(a=("U8", [len(data)], [0, len(data)])), data)
        assert zipfile.is_zipfile(io.BytesIO(raw)) or tail
        assert judge("model.safetensors", raw, DENY) is outcome


def test_a_pointer_is_named() -> None:
    assert "Git LFS" in why("model.safetensors", BAD["text"])


def pair(key: str, kind: int, value: bytes) -> bytes:
    return gguf_text(key) + struct.pack("<I", kind) + value


def several(*pairs: bytes, **more: Any) -> bytes:
    return gguf(pairs=b"".join(pairs), pair_count=len(pairs), **more)


def array(kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + value


GOOD_GGUF = {
    "two": gguf(),
    "version 2": gguf(version=2),
    "without the last padding": gguf()[:-30],
    "pairs": several(pair("a", 8, gguf_text("x")), pair("b", 4, bytes(4)),
                     pair("c", 9, array(8, 2, gguf_text("x") * 2)),
                     pair("d", 9, array(5, 3, bytes(12))), pair("e", 12, bytes(8)), pair("f", 7, b"\1")),
    "alignment": several(pair("general.alignment", 4, struct.pack("<I", 8)), tensors=[], data=b""),
    "no tensors": gguf(tensors=[], data=b""),
}
WHOLE = gguf()
BAD_GGUF = {
    "tail": gguf() + b"\0",
    "zip behind it": gguf() + torch_zip(),
    "short": gguf()[:-31],
    "full padding": gguf()[:-1] + b"x",
    "padding between": gguf(data=bytes(31) + b"x" + bytes(64)),
    "overlap": gguf(tensors=[("a", (4,), 0, 0), ("b", (32,), 8, 0)]),
    "hole": gguf(tensors=[("a", (4,), 0, 0), ("b", (32,), 8, 64)], data=bytes(128)),
    "not aligned": gguf(tensors=[("a", (4,), 0, 0), ("b", (4,), 0, 16)], data=bytes(32)),
    "same name": gguf(tensors=[("a", (4,), 0, 0), ("a", (32,), 8, 32)]),
    "half a block": gguf(tensors=[("a", (33,), 8, 0)], data=bytes(64)),
    "five dimensions": gguf(tensors=[("a", (1, 1, 1, 1, 1), 0, 0)], data=bytes(32)),
    "shape that wraps": gguf(tensors=[("a", (1 << 62, 4), 0, 0)], data=b""),
    "key twice": several(pair("a", 0, b"\0"), pair("a", 0, b"\0")),
    "value of no type": several(pair("a", 13, b"")),
    "array of arrays": several(pair("a", 9, array(9, 1, array(0, 1, b"\0")))),
    "array of 2^60": several(pair("a", 9, array(12, 1 << 60, b""))),
    "array of 2^60 texts": several(pair("a", 9, array(8, 1 << 60, b""))),
    "text of 2^60": several(pair("a", 8, struct.pack("<Q", 1 << 60))),
    "alignment of nothing": several(pair("general.alignment", 4, bytes(4))),
    "alignment as text": several(pair("general.alignment", 8, gguf_text("x"))),
    "2^60 tensors": WHOLE[:8] + struct.pack("<Q", 1 << 60) + WHOLE[16:],
    "2^60 pairs": WHOLE[:16] + struct.pack("<Q", 1 << 60) + WHOLE[24:],
    "only the magic": b"GGUF",
}


@pytest.mark.parametrize("label", GOOD_GGUF)
def test_gguf(label: str) -> None:
    raw = GOOD_GGUF[label]
    assert judge("model.gguf", raw, DENY) is Outcome.CLEAN, why("model.gguf", raw)
    assert judge("weights.bin", raw, DENY) is Outcome.CLEAN
    assert judge("model.safetensors", raw, DENY) is Outcome.FINDING
    for length in range(1, len(raw) - 30):
        assert judge("model.gguf", raw[:length], DENY) is Outcome.FINDING, length


@pytest.mark.parametrize("label", BAD_GGUF)
def test_gguf_that_is_off(label: str) -> None:
    assert judge("model.gguf", BAD_GGUF[label], DENY) is Outcome.FINDING


def test_gguf_that_is_not_known_here() -> None:
    assert judge("model.gguf", gguf(version=4), DENY) is Outcome.NOT_EXAMINED
    assert judge("model.gguf", gguf(version=0x03000000), DENY) is Outcome.NOT_EXAMINED
    assert judge("model.gguf", gguf(tensors=[("a", (32,), 99, 0)]), DENY) is Outcome.NOT_EXAMINED
