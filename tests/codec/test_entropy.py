"""Frames of bytes that hardly repeat: both coders, frames without room, and a zstandard without functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zstandard

from airbundle.codec import entropy
from airbundle.codec.compress import Codec, Compressor, Expander
from airbundle.codec.dtypes import Dtype
from airbundle.codec.entropy import LiteralCoder, SearchingCoder, has_functions, literal_coder
from airbundle.format.limits import WINDOW_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.codec.entropy import EntropyCoder
    from airbundle.codec.planes import Bytes

HALF = 1 << 19
SENTINEL = 0xA5


def exponents(size: int) -> Bytes:
    values = np.random.default_rng(5).normal(0, 0.02, size).astype("<f4")
    return (values.view("<u4") >> 23 & 0xFF).astype(np.uint8)


@pytest.fixture
def without_functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(entropy, "lib", None)
    has_functions.cache_clear()
    yield
    monkeypatch.undo()
    has_functions.cache_clear()


@pytest.fixture(params=["literal", "searching"])
def coder(request: pytest.FixtureRequest) -> EntropyCoder:
    if request.param == "literal" and not has_functions():
        pytest.skip("no functions of libzstd on this machine")
    return LiteralCoder() if request.param == "literal" else SearchingCoder()


@pytest.mark.parametrize("size", [1, 2, 100, 4097, 1 << 17, (1 << 17) + 1, HALF, 1 << 20])
def test_a_frame_says_its_size_and_gives_its_bytes(coder: EntropyCoder, size: int) -> None:
    for plain in (exponents(size), np.zeros(size, np.uint8), np.arange(size, dtype=np.uint32).astype(np.uint8)):
        out = np.full(size + 1000, SENTINEL, np.uint8)
        took = coder.pack(plain, out)
        frame = out[:took].tobytes()
        stated = zstandard.get_frame_parameters(frame)
        assert (stated.content_size, stated.dict_id, stated.has_checksum) == (size, 0, False)
        assert stated.window_size <= WINDOW_MAX
        assert zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False) == plain.tobytes()


def test_what_does_not_fit_is_not_written_behind_its_room(coder: EntropyCoder) -> None:
    plain, out = exponents(HALF), np.full(HALF, SENTINEL, np.uint8)
    needed = coder.pack(plain, out)
    for room in (0, 1, 100, needed // 2, needed - 1):
        out[:] = SENTINEL
        assert coder.pack(plain, out[:room]) == 0
        assert (out[room:] == SENTINEL).all()
    assert coder.pack(plain, out[:needed + HALF // 8]) == needed


def test_without_a_search_exponents_take_less() -> None:
    plain, out = exponents(HALF), np.empty(HALF, np.uint8)
    assert 0 < LiteralCoder().pack(plain, out) < SearchingCoder().pack(plain, out) < 0.36 * HALF


def test_planes_that_repeat_are_searched() -> None:
    """Rows of zeros between few others, as in a sparse or padded tensor: Huffman coding alone gives 0.125 at best."""
    values = np.random.default_rng(6).normal(0, 0.02, (512, 1024)).astype("<f4")
    values[np.arange(512) % 16 != 0] = 0
    plain = (values.view("<u4") >> 16).astype("<u2").tobytes()
    compressor = Compressor()
    codec, packed = compressor.compress(memoryview(plain), Dtype.FLOAT16)
    assert codec is Codec.PLANES2
    assert len(packed) < 0.06 * len(plain)


def test_without_the_functions_the_frames_differ_and_their_bytes_do_not(without_functions: None) -> None:
    assert not has_functions()
    assert isinstance(literal_coder(), SearchingCoder)
    with pytest.raises(OSError, match="no functions"):
        LiteralCoder()
    plain = np.random.default_rng(7).normal(0, 0.02, HALF).astype("<f2").tobytes()
    codec, packed = Compressor().compress(memoryview(plain), Dtype.FLOAT16)
    assert codec is Codec.PLANES2
    out = bytearray(len(plain))
    Expander().expand(codec, packed, memoryview(out))
    assert out == plain


@pytest.mark.parametrize("frame", [b"", b"no frame", zstandard.compress(b"something else"), bytes(4096)])
def test_functions_that_make_something_else_are_not_used(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(self: LiteralCoder, plain: Bytes, out: Bytes) -> int:
        out[:len(frame)] = np.frombuffer(frame, np.uint8)
        return len(frame)

    monkeypatch.setattr(LiteralCoder, "pack", pack)
    has_functions.cache_clear()
    assert not has_functions()
    monkeypatch.undo()
    has_functions.cache_clear()
    assert has_functions()


def test_a_parameter_that_is_not_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy, "_WINDOW_LOG", 99)
    with pytest.raises(OSError, match="does not take parameter 101"):
        LiteralCoder()


@pytest.mark.parametrize("kind", ["fp16", "fp32"])
@pytest.mark.parametrize("phase", [0, 1, 2, 3])
def test_a_chunk_that_is_shorter_than_the_phase_of_those_before_comes_back(kind: str, phase: int) -> None:
    """A header that says where a tensor lies may be wrong by a byte; the last chunk of a run may be one byte."""
    dtype = Dtype.FLOAT16 if kind == "fp16" else Dtype.FLOAT32
    chunks = Compressor()
    words = np.random.default_rng(9).normal(0, 0.02, 60_000).astype("<f4")
    plain = (words if kind == "fp32" else words.astype("<f2")).tobytes()[phase:]
    width = 2 if kind == "fp16" else 4
    chunks._phases[dtype] = -phase % width
    assert chunks.compress(memoryview(plain), dtype)[0] is not Codec.RAW
    for size in range(1, 2 * width):
        codec, packed = chunks.compress(memoryview(plain[:size]), dtype)
        assert (codec, bytes(packed)) == (Codec.RAW, plain[:size])
