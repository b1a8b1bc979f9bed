"""Packing and expanding: identity, gain, refusals of C-2, C-3 and S-14, and C-4's distrust of our own packer."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from airbundle.codec.compress import Codec, Compressor, Expander
from airbundle.codec.dtypes import Dtype
from airbundle.codec.survey import byte_cost, pieces_of, plane_costs
from airbundle.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airbundle.codec.planes import Bytes

MIB = 1 << 20
COMPRESSOR = Compressor()
EXPANDER = Expander()


def there_and_back(plain: bytes, dtype: Dtype, *, forget: bool = True) -> tuple[Codec, int]:
    if forget:
        COMPRESSOR.forget()
    codec, packed = COMPRESSOR.compress(memoryview(plain), dtype)
    assert len(packed) <= len(plain)
    out = bytearray(b"\xa5" * len(plain))
    EXPANDER.expand(codec, packed, memoryview(out))
    assert out == plain
    return codec, len(packed)


def floats(kind: str, count: int, seed: int = 1) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.02, count).astype("<f4")
    if kind == "bf16":
        return (values.view("<u4") >> 16).astype("<u2").tobytes()
    if kind == "fp32 of bf16":
        return (values.view("<u4") & 0xFFFF0000).astype("<u4").tobytes()
    return values.astype({"fp16": "<f2", "fp32": "<f4"}[kind]).tobytes()


def noise(size: int) -> bytes:
    return np.random.default_rng(2).integers(0, 256, size, np.uint8).tobytes()


LINES = (b'{"id": %d, "piece": "word%d", "score": %.3f},\n' % (i, i * i % 977, i / 7) for i in range(30_000))
TEXT = b"".join(LINES)[:MIB]


@given(st.binary(min_size=1, max_size=300), st.sampled_from(Dtype), st.integers(1, 400))
def test_any_bytes_of_any_type_come_back(seed: bytes, dtype: Dtype, times: int) -> None:
    there_and_back(seed * times, dtype)


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 255, 16_511, 16_512, 16_513, 33_024, 100_003, MIB - 1, MIB])
def test_every_size_comes_back(dtype: Dtype, size: int) -> None:
    there_and_back(bytes(size), dtype)
    there_and_back(noise(size), dtype)
    there_and_back(floats("fp32", MIB // 4)[-size:], dtype)


# kind, type, codec, packed size by plain size at most
GAINS = [
    ("bf16", Dtype.FLOAT16, Codec.PLANES2, 0.67),
    ("fp16", Dtype.FLOAT16, Codec.PLANES2, 0.87),
    ("fp32", Dtype.FLOAT32, Codec.PLANES4, 0.84),
    ("fp32 of bf16", Dtype.FLOAT32, Codec.PLANES4, 0.36),
    ("bf16", Dtype.UNKNOWN, Codec.PLANES2, 0.67),
    ("fp16", Dtype.UNKNOWN, Codec.PLANES2, 0.87),
    ("fp32", Dtype.UNKNOWN, Codec.PLANES4, 0.84),
]


@pytest.mark.parametrize(("kind", "dtype", "codec", "most"), GAINS)
def test_floats_go_into_planes(kind: str, dtype: Dtype, codec: Codec, most: float) -> None:
    plain = floats(kind, MIB // (4 if "32" in kind else 2))
    assert len(plain) == MIB
    got, size = there_and_back(plain, dtype)
    assert got is codec
    assert size / MIB <= most


def test_a_plan_is_kept_only_while_it_fits() -> None:
    """Chunks of one type that pack differently: clean floats between others, noise between floats."""
    sizes = {}
    for round_ in range(3):
        for kind, most in (("fp32", 0.84), ("fp32 of bf16", 0.36), ("noise", 1.0)):
            for chunk in range(3):
                plain = noise(MIB) if kind == "noise" else floats(kind, MIB // 4, seed=round_)
                sizes[kind] = there_and_back(plain, Dtype.FLOAT32, forget=False)[1]
                # The first chunk that differs is packed by the old plan, and makes a new one.
                assert sizes[kind] / MIB <= (most if chunk else min(1.0, most + 0.03))
    assert sizes["noise"] == MIB
    assert there_and_back(floats("fp32", MIB // 4), Dtype.FLOAT32, forget=False)[1] / MIB <= 0.84


@pytest.mark.parametrize("phase", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [Dtype.UNKNOWN, Dtype.FLOAT32])
def test_planes_are_found_at_every_phase(phase: int, dtype: Dtype) -> None:
    plain = noise(phase) + floats("fp32", 100_000) + b"end"
    COMPRESSOR.forget()
    codec, packed = COMPRESSOR.compress(memoryview(plain), dtype)
    assert codec is Codec.PLANES4
    assert len(packed) < 0.84 * len(plain)
    there_and_back(plain, dtype)


def test_text_is_left_to_zstd_and_noise_is_left_alone() -> None:
    codec, size = there_and_back(TEXT, Dtype.UNKNOWN)
    assert codec is Codec.ZSTD
    assert size < 0.3 * len(TEXT)
    for dtype in Dtype:
        plain = memoryview(noise(MIB))
        codec, packed = COMPRESSOR.compress(plain, dtype)
        assert codec is Codec.RAW
        assert packed is plain


def test_single_bytes_are_entropy_coded() -> None:
    plain = np.random.default_rng(3).normal(0, 20, MIB).astype(np.int8).tobytes()
    for dtype in (Dtype.FLOAT8, Dtype.OPAQUE):
        codec, size = there_and_back(plain, dtype)
        assert codec is Codec.ZSTD
        assert size < 0.85 * MIB


def test_a_gain_of_a_few_bytes_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = noise(MIB - 4000) + bytes(4000)
    monkeypatch.setattr("airbundle.codec.compress.byte_cost", lambda _: 0)
    assert len(zstandard.compress(plain)) < MIB - 1000
    assert there_and_back(plain, Dtype.FLOAT8) == (Codec.RAW, MIB)


def test_a_sample_of_noise_costs_its_size() -> None:
    sample = pieces_of(np.frombuffer(noise(MIB), np.uint8))
    assert byte_cost(sample) == pytest.approx(1, abs=0.004)
    for width in (2, 4):
        assert plane_costs(sample, width, range(width)) == pytest.approx(1, abs=0.004)


@pytest.mark.parametrize("width", [2, 4])
def test_the_survey_finds_the_phase(width: int) -> None:
    """Words whose exponent never changes: only at their own phase has one plane a single value."""
    words = np.frombuffer(noise(MIB), f"<u{width}") & ((1 << (8 * width)) - 1 - (0xFF << (8 * width - 9)))
    for phase in range(width):
        costs = plane_costs(
            pieces_of(np.frombuffer(noise(phase) + words.astype(f"<u{width}").tobytes(), np.uint8)), width, range(width)
        )
        assert costs.shape == (width, width)
        assert np.argmin(costs.mean(axis=1)) == phase
        assert costs[phase] == pytest.approx([0] + [1] * (width - 1), abs=0.01)


def packing_by(make_frame: Callable[[Bytes], bytes]) -> Compressor:
    """A compressor whose coders both make such frames."""
    class Coder:
        def pack(self, plain: Bytes, out: Bytes) -> int:
            frame = make_frame(plain)
            out[:len(frame)] = np.frombuffer(frame, np.uint8)
            return len(frame)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("literal_coder", "SearchingCoder"):
            patch.setattr(f"airbundle.codec.compress.{name}", Coder)
        return Compressor()


def test_planes_of_noise_are_not_tried() -> None:
    tried = []

    def spy(plain: Bytes) -> bytes:
        tried.append(plain.size)
        return zstandard.compress(plain.data)

    packing_by(spy).compress(memoryview(floats("fp32", 100_000)), Dtype.FLOAT32)
    assert tried == [100_000]


@pytest.mark.parametrize("size", [4096, 4099, MIB])
@pytest.mark.parametrize("at", [0, 1, 2047, -1])
def test_the_comparison_sees_every_byte(size: int, at: int) -> None:
    def lie(plain: Bytes) -> bytes:
        changed = bytearray(plain)
        changed[at] ^= 128
        return zstandard.compress(changed)

    plain = memoryview(bytes(size))
    assert packing_by(lambda plain: zstandard.compress(plain.data)).compress(plain, Dtype.FLOAT8)[0] is Codec.ZSTD
    assert packing_by(lie).compress(plain, Dtype.FLOAT8)[0] is Codec.RAW


def test_a_packed_chunk_that_does_not_come_back_is_stored_raw() -> None:
    """C-4: zstd is swapped for one that packs other bytes, and for one whose frames are no frames."""
    def lie(plain: Bytes) -> bytes:
        changed = bytearray(plain)
        changed[len(changed) // 2] ^= 1
        return zstandard.compress(changed)

    for broken in (lie, lambda _: b"not a frame"):
        for chunk, dtype in ((floats("bf16", 50_000), Dtype.FLOAT16), (bytes(5000), Dtype.FLOAT8)):
            codec, packed = packing_by(broken).compress(memoryview(chunk), dtype)
            assert codec is Codec.RAW
            assert packed == chunk


@pytest.mark.parametrize("size", [0, MIB + 1])
def test_chunks_of_no_bytes_or_of_more_than_1_mib_are_refused(size: int) -> None:
    with pytest.raises(FormatError, match="S-14"):
        COMPRESSOR.compress(memoryview(bytes(size)), Dtype.UNKNOWN)
    with pytest.raises(FormatError, match="S-14"):
        EXPANDER.expand(Codec.RAW, memoryview(bytes(size)), memoryview(bytearray(size)))


def test_a_filler_is_not_expanded() -> None:
    with pytest.raises(FormatError, match="S-14"):
        EXPANDER.expand(Codec.FILLER, memoryview(bytes(10)), memoryview(bytearray(10)))


def frame(plain: bytes, **how: int) -> bytes:
    return zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(**how)).compress(plain)


def frame_of_unknown_size(plain: bytes) -> bytes:
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(plain) + packer.flush()


PLAIN = TEXT[:100_000]
GOOD = frame(PLAIN, window_log=16)


def with_dictionary_id(good: bytes) -> bytes:
    """The same frame, saying that it needs dictionary 7."""
    descriptor = good[4]
    window = 0 if descriptor & 0x20 else 1
    return good[:4] + bytes([descriptor | 1]) + good[5 : 5 + window] + b"\x07" + good[5 + window :]


LIES = {
    "nothing": b"",
    "half a header": GOOD[:5],
    "half a frame": GOOD[: len(GOOD) // 2],
    "one byte short": GOOD[:-1],
    "a byte behind it": GOOD + b"\0",
    "two frames": GOOD + GOOD,
    "an empty frame behind it": GOOD + frame(b""),
    "two halves in two frames": frame(PLAIN[:50_000]) + frame(PLAIN[50_000:]),
    "a frame to skip before it": b"\x50\x2a\x4d\x18\x04\0\0\0skip" + GOOD,
    "a frame to skip behind it": GOOD + b"\x50\x2a\x4d\x18\x04\0\0\0skip",
    "no size": frame_of_unknown_size(PLAIN),
    "one byte less": frame(PLAIN[:-1]),
    "one byte more": frame(PLAIN + b"!"),
    "a lie about the size": frame(PLAIN[:-1]).replace(struct.pack("<I", 99_999), struct.pack("<I", 100_000), 1),
    "a dictionary": with_dictionary_id(GOOD),
    "other magic": b"\x27" + GOOD[1:],
    "raw bytes": PLAIN,
}


def refuse(codec: Codec, packed: bytes, size: int, rule: str) -> None:
    out = memoryview(bytearray(size))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=rule):
            EXPANDER.expand(codec, memoryview(packed), out)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("lie", LIES)
def test_frames_that_lie_are_refused(lie: str) -> None:
    assert LIES[lie] != GOOD
    refuse(Codec.ZSTD, LIES[lie], len(PLAIN), "C-2")


def test_what_zstd_would_refuse_itself_is_refused_before() -> None:
    refuse(Codec.ZSTD, LIES["a dictionary"], len(PLAIN), "wants a dictionary")
    refuse(Codec.ZSTD, b"\x50\x2a\x4d\x18" + struct.pack("<I", 10) + bytes(10), 10, "not a zstd frame")


def test_a_zstd_that_gives_fewer_bytes_than_it_said_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        def decompress(self, _: object, **__: bool) -> bytes:
            return b"!"

    expander = Expander()
    monkeypatch.setattr(expander, "_zstd", Short())
    with pytest.raises(FormatError, match="C-2"):
        expander.expand(Codec.ZSTD, memoryview(GOOD), memoryview(bytearray(len(PLAIN))))


def test_the_honest_frame_is_taken() -> None:
    out = bytearray(len(PLAIN))
    EXPANDER.expand(Codec.ZSTD, memoryview(GOOD), memoryview(out))
    assert out == PLAIN


def test_a_window_of_more_than_1_mib_is_refused() -> None:
    """The header is changed by hand: a writer that knows the size never asks for so much."""
    descriptor = GOOD[4]
    assert not descriptor & 0x20
    for exponent, allowed in ((10, True), (11, False), (21, False)):
        packed = GOOD[:5] + bytes([exponent << 3]) + GOOD[6:]
        if allowed:
            EXPANDER.expand(Codec.ZSTD, memoryview(packed), memoryview(bytearray(len(PLAIN))))
        else:
            refuse(Codec.ZSTD, packed, len(PLAIN), "C-2")


def test_bombs_are_refused_before_they_go_off() -> None:
    for size in (MIB + 1, 2 * MIB, 1 << 26):
        refuse(Codec.ZSTD, frame(bytes(size)), MIB, "C-2")
        refuse(Codec.ZSTD, frame(bytes(size), window_log=17), MIB, "C-2")
    for start in (bytes([0b11100000]), bytes([0b11000000, 7 << 3])):
        enormous = b"\x28\xb5\x2f\xfd" + start + struct.pack("<Q", 1 << 50) + b"\x01\0\0"
        refuse(Codec.ZSTD, enormous, MIB, "C-2")
    header = struct.pack("<B2I", 0, len(enormous), 10)
    refuse(Codec.PLANES2, header + enormous + bytes(10), 20, "C-3")


def packed_planes(phase: int, stored: list[bytes], head: bytes = b"", tail: bytes = b"") -> bytes:
    return struct.pack(f"<B{len(stored)}I", phase, *map(len, stored)) + head + b"".join(stored) + tail


SHAPES = {
    "header cut": (packed_planes(0, [bytes(50), bytes(50)])[:8], 100),
    "nothing": (b"", 100),
    "phase too high": (packed_planes(2, [bytes(49), bytes(49)], b"ab"), 100),
    "phase beyond the chunk": (packed_planes(3, [b""] * 4), 2),
    "a byte too much": (packed_planes(0, [bytes(50), bytes(50)], tail=b"x"), 100),
    "a byte too few": (packed_planes(0, [bytes(50), bytes(50)])[:-1], 100),
    "tail missing": (packed_planes(0, [bytes(50), bytes(50)]), 101),
    "a plane too long": (packed_planes(0, [bytes(51), bytes(49)]), 100),
    "lengths beyond the end": (struct.pack("<B2I", 0, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(100), 100),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_lengths_that_do_not_add_up_are_refused(shape: str) -> None:
    packed, size = SHAPES[shape]
    refuse(Codec.PLANES4 if "beyond the chunk" in shape else Codec.PLANES2, packed, size, "C-3")


def test_a_plane_is_under_the_same_rules_as_a_frame() -> None:
    for size, bad in ((50, b""), (50, frame(bytes(49))), (50, frame(bytes(50)) + b"\0")):
        refuse(Codec.PLANES2, packed_planes(0, [bad, bytes(size)]), 2 * size, "C-2")


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.ZSTD, Codec.PLANES2, Codec.PLANES4])
@given(data=st.data())
def test_garbage_gives_a_format_error_or_bytes(codec: Codec, data: st.DataObject) -> None:
    planes = packed_planes(1, [frame(bytes(500)), bytes(500)], b"x", b"y")
    packed = bytearray(data.draw(st.sampled_from([GOOD, planes])))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=5)):
        packed[at] = value
    out = memoryview(bytearray(data.draw(st.sampled_from([1002, len(PLAIN)]))))
    with contextlib.suppress(FormatError):
        EXPANDER.expand(codec, memoryview(packed), out)


def test_empty_planes_of_a_chunk_shorter_than_a_word() -> None:
    out = bytearray(3)
    EXPANDER.expand(Codec.PLANES4, memoryview(packed_planes(1, [b""] * 4, b"a", b"bc")), memoryview(out))
    assert out == b"abc"


def test_nothing_of_the_source_is_kept_by_the_scratch_of_the_last_chunk() -> None:
    """A smaller chunk after a larger one, and the other way round, on one compressor."""
    for size in (MIB, 1000, 77_777, 3, MIB):
        there_and_back(floats("bf16", MIB // 2)[:size], Dtype.FLOAT16)


def test_noise_is_not_looked_at_word_by_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it repeats, it is stored as it is; floats of unknown type are still found."""
    surveyed: list[int] = []

    def spy(sample: np.ndarray[tuple[int, int], np.dtype[np.uint8]], width: int, phases: Iterable[int]) -> object:
        surveyed.append(width)
        return plane_costs(sample, width, phases)

    monkeypatch.setattr("airbundle.codec.compress.plane_costs", spy)
    noise = np.random.default_rng(5).bytes(MIB)
    assert Compressor().compress(memoryview(noise), Dtype.UNKNOWN)[0] is Codec.RAW
    assert surveyed == []
    assert Compressor().compress(memoryview(noise[:4096] * 256), Dtype.UNKNOWN)[0] is Codec.ZSTD
    surveyed.clear()
    assert Compressor().compress(memoryview(floats("bf16", MIB // 2)), Dtype.UNKNOWN)[0] is Codec.PLANES2
    assert surveyed == [2, 4]
