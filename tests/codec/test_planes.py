"""Laws of the plane transform: a permutation of bits, the same as the spec's words say, at any address."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.codec.planes import join, new_scratch, split, word_type

WIDTHS = [2, 4]


def by_the_spec(raw: bytes, width: int) -> list[bytes]:
    """Chapter 6 word by word, in plain integers."""
    bits = 8 * width
    words = [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]
    rotated = [(w << 1 | w >> (bits - 1)) & ((1 << bits) - 1) for w in words]
    return [bytes(r >> (bits - 8 * (row + 1)) & 0xFF for r in rotated) for row in range(width)]


def there_and_back(raw: bytes, width: int, shift: int) -> list[bytes]:
    count = len(raw) // width
    home = np.zeros(len(raw) + 8, np.uint8)
    home[shift : shift + len(raw)] = np.frombuffer(raw, np.uint8)
    words = home[shift : shift + len(raw)].view(word_type(width))
    planes = np.empty((width, count), np.uint8)
    scratch = new_scratch()
    split(words, planes, scratch)
    assert words.tobytes() == raw
    back = np.full(len(raw) + 8, 0xA5, np.uint8)
    join(planes, back[shift : shift + len(raw)].view(word_type(width)), scratch)
    assert back[shift : shift + len(raw)].tobytes() == raw
    assert (back[:shift] == 0xA5).all()
    assert (back[shift + len(raw) :] == 0xA5).all()
    return [row.tobytes() for row in planes]


@given(st.sampled_from(WIDTHS), st.integers(0, 3), st.binary(max_size=400))
def test_planes_are_those_of_the_spec_and_come_back(width: int, shift: int, raw: bytes) -> None:
    whole = raw[: len(raw) // width * width]
    assert there_and_back(whole, width, shift) == by_the_spec(whole, width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_more_than_one_piece_with_a_remainder(width: int, shift: int) -> None:
    raw = np.random.default_rng(width).integers(0, 256, 2 * 262_144 + 12, np.uint8).tobytes()
    assert there_and_back(raw, width, shift) == by_the_spec(raw, width)


@pytest.mark.parametrize("values", [
    np.array([0, 0x8000, 0x7FC0, 0x7F81, 0xFFFF, 1, 0x8001, 0x7F80, 0xFF80], np.uint16),
    np.array([0, 1 << 31, 0x7FC00001, 0x7F800001, 0xFFFFFFFF, 1, 0x80000001, 0x7F800000], np.uint32),
])  # fmt: skip
def test_nan_payloads_and_subnormals_come_back(values: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> None:
    there_and_back(values.tobytes(), values.itemsize, 0)


def test_exponent_is_plane_0_and_the_sign_is_at_the_bottom() -> None:
    one, minus_one = np.array([0x3F80, 0xBF80], "<u2").tobytes()[:2], np.array([0xBF80], "<u2").tobytes()
    assert there_and_back(one + minus_one, 2, 0) == [b"\x7f\x7f", b"\x00\x01"]


def test_rows_may_lie_anywhere() -> None:
    words = np.arange(1000, dtype="<u2")
    rows = [np.empty(1000, np.uint8), np.empty(2001, np.uint8)[1001:]]
    scratch = new_scratch()
    split(words, rows, scratch)
    back = np.empty_like(words)
    join(rows, back, scratch)
    assert (back == words).all()
