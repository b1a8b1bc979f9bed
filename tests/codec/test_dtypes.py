from __future__ import annotations

import json
import struct
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.codec import dtypes
from airbundle.codec.dtypes import Dtype, Run, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

K64 = 64 << 10
F32, F16, F8, OPAQUE, UNKNOWN = Dtype.FLOAT32, Dtype.FLOAT16, Dtype.FLOAT8, Dtype.OPAQUE, Dtype.UNKNOWN


def found(data: bytes, size: int | None = None) -> list[Run]:
    """The runs of `data`, with zeros up to `size`; checks what holds for every file."""
    size = len(data) if size is None else size

    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= size
        return data[offset : offset + length].ljust(length, b"\0")

    result = runs(size, read)
    assert sum(run.length for run in result) == size
    assert all(a.end == b.start for a, b in pairwise(result))
    assert not result or result[0].start == 0
    assert all(run.length >= K64 for run in result) or len(result) <= 1
    assert all(0 <= run.phase < run.dtype.width for run in result)
    return result


def safetensors(tensors: dict[str, dict[str, Any]], pad: int = 8, **more: Any) -> bytes:
    text = json.dumps({**more, **tensors}).encode()
    text += b" " * (-len(text) % pad)
    return len(text).to_bytes(8, "little") + text


def tensor(dtype: str, start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - start], "data_offsets": [start, end]}


def kinds(result: list[Run]) -> list[tuple[Dtype, int]]:
    return [(run.dtype, run.length) for run in result]


def test_safetensors_by_dtype() -> None:
    names = ["F32", "BF16", "F16", "F8_E4M3", "I8", "F64", "F4"]
    size = 2 * K64
    head = safetensors({n: tensor(n, i * size, (i + 1) * size) for i, n in enumerate(names)}, __metadata__={"a": "{"})
    lengths = [size + len(head), 2 * size, size, 2 * size, size]
    assert kinds(found(head, len(head) + 7 * size)) == list(zip((F32, F16, F8, UNKNOWN, OPAQUE), lengths, strict=True))


def test_small_tensors_do_not_cut() -> None:
    edges = [0, *range(1000, 200_001, 1000), 200_100, 400_000, 400_010]
    dtypes = ["BF16"] * 200 + ["F32", "BF16", "I64"]
    head = safetensors({str(i): tensor(d, edges[i], edges[i + 1]) for i, d in enumerate(dtypes)})
    assert kinds(found(head, len(head) + 400_010)) == [(F16, len(head) + 400_010)]


def test_words_keep_their_phase() -> None:
    head = safetensors({"a": tensor("BF16", 0, K64 * 2)}, pad=1)
    head = head if len(head) % 2 else safetensors({"ab": tensor("BF16", 0, K64 * 2)}, pad=1)
    (run,) = found(head, len(head) + K64 * 2)
    assert (len(head) % 2, run.phase, run.dtype) == (1, 1, F16)
    # A hole of one byte shifts the words behind it, so the run has to end.
    head = safetensors({"a": tensor("BF16", 0, K64 * 2), "b": tensor("BF16", K64 * 2 + 1, K64 * 4 + 1)})
    first, second = found(head, len(head) + K64 * 4 + 1)
    assert (first.dtype, second.dtype) == (F16, F16)
    assert (second.start + second.phase - len(head)) % 2 == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.replace(b"131072", b"131073"),  # past the end
        lambda h: h.replace(b"[0, 131072]", b"[131072,0] "),
        lambda h: h.replace(b"[0, 131072]", b"[-1,131072]"),
        lambda h: h.replace(b'"BF16"', b"123456"),
        lambda h: h[:20] + b"\xff" + h[21:],
        lambda h: (1 << 62).to_bytes(8, "little") + h[8:],
        lambda h: (100_000_001).to_bytes(8, "little") + h[8:],
        lambda h: h.replace(b"}}", b"} "),
        lambda h: h[:8] + b'{"a":' + b"[" * (len(h) - 13),
    ],
)
def test_a_header_that_is_off_is_unknown(change: Callable[[bytes], bytes]) -> None:
    head = safetensors({"weight": tensor("BF16", 0, 131072)})
    assert kinds(found(head, len(head) + 131072))[0][0] is F16
    assert kinds(found(change(head), len(head) + 131072)) == [(UNKNOWN, len(head) + 131072)]


def test_a_deep_header_is_unknown() -> None:
    data = b'{"a":{"x":' + b"[" * 500_000
    data = len(data).to_bytes(8, "little") + data
    assert kinds(found(data)) == [(UNKNOWN, len(data))]


def test_a_header_over_100_mb_is_not_read() -> None:
    read = []

    def reader(offset: int, length: int) -> bytes:
        read.append(length)
        return ((100_000_001).to_bytes(8, "little") + b"{")[offset : offset + length]

    assert kinds(runs(1 << 40, reader)) == [(UNKNOWN, 1 << 40)]
    assert read == [9]


def test_a_large_hole_is_a_run_of_its_own() -> None:
    head = safetensors({"a": tensor("BF16", 0, K64), "b": tensor("BF16", 2 * K64, 3 * K64)})
    result = kinds(found(head, len(head) + 3 * K64))
    assert result == [(F16, len(head) + K64), (UNKNOWN, K64), (F16, K64)]


def test_overlapping_tensors_are_unknown() -> None:
    head = safetensors({"a": tensor("BF16", 0, 2 * K64), "b": tensor("F32", K64, 3 * K64)})
    assert kinds(found(head, len(head) + 3 * K64)) == [(UNKNOWN, len(head) + 3 * K64)]


def test_a_truncated_file_is_unknown() -> None:
    head = safetensors({"a": tensor("BF16", 0, 200_000)})
    assert kinds(found(head, len(head) + 199_999))[0][0] is UNKNOWN


def test_a_header_of_many_tensors_is_not_decoded() -> None:
    text = b"{" + b",".join(b'"%d":{}' % n for n in range(400_000)) + b"}"
    data = len(text).to_bytes(8, "little") + text
    tracemalloc.start()
    assert kinds(found(data)) == [(UNKNOWN, len(data))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def gguf(
    tensors: list[tuple[int, int, list[int]]], pairs: Sequence[bytes] = (), version: int = 3, align: int = 32
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs)
    for number, (offset, kind, shape) in enumerate(tensors):
        head += text(b"t%d" % number) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return head + bytes(-len(head) % align)


PAIRS = [
    text(b"name") + struct.pack("<I", 8) + text(b"llama"),
    text(b"tokens") + struct.pack("<IIQ", 9, 8, 1000) + b"".join(text(b"token%d" % n) for n in range(1000)),
    text(b"scores") + struct.pack("<IIQ", 9, 6, 300_000) + bytes(1_200_000),
    text(b"flag") + struct.pack("<IB", 7, 1),
    text(b"eps") + struct.pack("<Id", 12, 1e-5),
]


@pytest.mark.parametrize("version", [2, 3])
def test_gguf_by_type(version: int) -> None:
    n = 100_000
    tensors = [(0, 0, [n]), (4 * n, 1, [n // 10, 10]), (6 * n, 30, [n]), (8 * n, 12, [256]), (9 * n, 26, [n])]
    head = gguf(tensors, PAIRS, version)
    result = found(head, len(head) + 13 * n)
    assert kinds(result) == [(UNKNOWN, len(head)), (F32, 4 * n), (F16, 4 * n), (OPAQUE, n), (UNKNOWN, 4 * n)]


def test_gguf_alignment_gaps_do_not_cut() -> None:
    pair = text(b"general.alignment") + struct.pack("<II", 4, 4096)
    head = gguf([(0, 1, [50_001]), (102_400, 1, [60_000])], [pair], align=4096)
    assert len(head) == 4096
    (run,) = found(head, 4096 + 102_400 + 120_000)
    assert (run.dtype, run.phase) == (F16, 0)


@pytest.mark.parametrize(
    "data",
    [
        gguf([(0, 0, [K64])], version=1),
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 200_000),
        gguf([(0, 0, [1 << 40])]),
        gguf([(0, 0, [1 << 63] * 8)]),
        gguf([(0, 0, [1]), (0, 0, [1])]),
        gguf([(1 << 62, 2, [32])]),
        gguf([(0, 30, [K64]), (1 << 62, 2, [32])]),
        gguf([(0, 0, [K64] + [1] * 8)]),
        gguf([], [text(b"a") + struct.pack("<IIQ", 9, 8, 1 << 60)]),
        gguf([], [text(b"a") + struct.pack("<IIQ", 9, 4, 1 << 60)]),
        gguf([], [text(b"a") + struct.pack("<IIQ", 9, 9, 1)]),
        gguf([], [text(b"a") + struct.pack("<I", 99)]),
        gguf([], [struct.pack("<Q", 1 << 60)]),
        gguf([(0, 0, [9])], [text(b"general.alignment") + struct.pack("<II", 4, 0)]),
        b"GGUF",
    ],
)
def test_hostile_gguf_is_unknown(data: bytes) -> None:
    size = len(data) + 300_000
    assert kinds(found(data, size)) == [(UNKNOWN, size)]


def test_the_work_for_a_gguf_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    real = dtypes._Cursor.take

    def counting(self: dtypes._Cursor, length: int) -> bytes:
        taken.append(length)
        return real(self, length)

    monkeypatch.setattr(dtypes._Cursor, "take", counting)
    monkeypatch.setattr(dtypes, "_ITEMS_MAX", 5000)
    strings = struct.pack("<IIQ", 9, 8, 1 << 40) + bytes(1 << 20)
    data = gguf([], [text(b"a") + strings])
    assert kinds(found(data)) == [(UNKNOWN, len(data))]
    assert len(taken) <= 5001


def test_other_files_are_unknown() -> None:
    assert found(b"") == []
    for data in (b"x", b"PK\x03\x04" + bytes(100), b"{}", bytes(200_000)):
        assert kinds(found(data)) == [(UNKNOWN, len(data))]


def test_a_reader_that_ends_early_is_no_error_and_its_own_errors_pass() -> None:
    data = safetensors({"a": tensor("BF16", 0, 200_000)})
    assert runs(300_000, lambda o, n: data[o : o + n][:30]) == [Run(0, 300_000, UNKNOWN)]

    def broken(_offset: int, _length: int) -> bytes:
        raise OSError

    with pytest.raises(OSError):
        runs(300_000, broken)


@given(st.data())
def test_every_header_gives_a_cover(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, 600_000), max_size=24)))
    names = st.sampled_from(["F32", "F16", "F8_E5M2", "U8", "F6_E2M3"])
    head = safetensors({str(i): tensor(data.draw(names), a, b) for i, (a, b) in enumerate(pairwise(cuts))}, pad=1)
    found(head, len(head) + 600_000)
    base = data.draw(st.sampled_from([head, gguf([(0, 0, [9]), (64, 2, [32])], PAIRS[:2])]))
    spoiled = bytearray(base)
    for place in data.draw(st.lists(st.integers(0, len(base) - 1), max_size=4)):
        spoiled[place] = data.draw(st.integers(0, 255))
    found(bytes(spoiled), data.draw(st.sampled_from([len(spoiled), len(spoiled) + 600_000])))
