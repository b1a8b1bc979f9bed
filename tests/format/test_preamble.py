import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import FormatError
from airbundle.format.preamble import (
    Preamble,
    SealedKey,
    Shape,
    parse_preamble_bytes,
    write_preamble_bytes,
)


def shape_of(number: int) -> Shape:
    if number != 1:
        raise FormatError("unknown", rule="K-1")
    return Shape(digest_size=32, envelope_sizes={1: 1168, 2: 76})


def preamble(count: int) -> Preamble:
    envelopes = tuple(SealedKey(bytes([i]) * 32, bytes([i]) * 1168) for i in range(count))
    return Preamble(1, b"b" * 16, b"p" * 32, b"c" * 32, envelopes)


def refusal(raw: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        parse_preamble_bytes(raw, shape_of)
    return caught.value.rule


@pytest.mark.parametrize("count", [1, 2, 64])
def test_round_trip(count: int) -> None:
    raw = write_preamble_bytes(preamble(count))
    assert len(raw) == 84 + count * 1204
    assert parse_preamble_bytes(raw, shape_of) == preamble(count)


def test_fields_lie_where_the_table_says() -> None:
    raw = write_preamble_bytes(preamble(1))
    assert raw[:4] == bytes([1, 1, 0, 0])
    assert (raw[4:20], raw[20:52], raw[52:84]) == (b"b" * 16, b"p" * 32, b"c" * 32)
    assert raw[84:88] == bytes([1, 0]) + struct.pack("<H", 1168)
    assert raw[88:120] == bytes(32)


@pytest.mark.parametrize(
    ("at", "value", "rule"),
    [
        (0, 2, "K-1"),
        (0, 0, "K-1"),
        (1, 0, "K-6"),
        (1, 1, "K-6"),
        (1, 3, "K-6"),
        (1, 65, "K-6"),
        (1, 255, "K-6"),
        (2, 1, "K-6"),
        (3, 1, "K-6"),
        (84, 2, "K-6"),
        (84, 0, "K-6"),
        (84, 3, "K-6"),
        (85, 1, "K-6"),
        (86, 0, "K-6"),
        (87, 255, "K-6"),
    ],
)
def test_a_wrong_field_is_refused(at: int, value: int, rule: str) -> None:
    raw = bytearray(write_preamble_bytes(preamble(2)))
    raw[at] = value
    assert refusal(bytes(raw)) == rule


def test_length_is_exact() -> None:
    raw = write_preamble_bytes(preamble(2))
    for wrong in [b"", raw[:1], raw[:19], raw[:20], raw[:84], raw[:-1], raw + b"\0", raw + raw, bytes(128 * 1024 + 1)]:
        assert refusal(wrong) == "K-6"


def test_no_envelope_and_sixty_five_are_refused() -> None:
    assert refusal(write_preamble_bytes(preamble(0))) == "K-6"
    assert refusal(write_preamble_bytes(preamble(65))) == "K-6"


def test_too_long_is_refused_before_the_suite_is_looked_at() -> None:
    with pytest.raises(FormatError, match="K-6"):
        parse_preamble_bytes(b"\x09" + bytes(128 * 1024), shape_of)


def test_the_same_recipient_twice_is_refused() -> None:
    twice = Preamble(1, b"b" * 16, b"p" * 32, b"c" * 32, preamble(1).envelopes * 2)
    assert refusal(write_preamble_bytes(twice)) == "K-6"


COST = struct.pack("<III", 64, 1, 1)


def protected(cost: bytes = COST, recipient: bytes = bytes(32), more: int = 0) -> bytes:
    """A preamble with one envelope of type 2, and `more` of type 1 behind it."""
    envelopes = (SealedKey(recipient, cost + b"s" * 64, 2), *preamble(more + 1).envelopes[1:])
    return write_preamble_bytes(Preamble(1, b"b" * 16, b"p" * 32, b"c" * 32, envelopes))


def test_an_envelope_under_a_passphrase() -> None:
    raw = protected()
    assert len(raw) == 84 + 36 + 76
    assert raw[84:88] == bytes([2, 0]) + struct.pack("<H", 76)
    parsed = parse_preamble_bytes(raw, shape_of)
    assert parsed.under_passphrase
    assert parsed.recipients == ()
    assert write_preamble_bytes(parsed) == raw
    assert not parse_preamble_bytes(write_preamble_bytes(preamble(2)), shape_of).under_passphrase


def test_a_passphrase_is_alone_and_names_nobody() -> None:
    twice = raw_of(SealedKey(bytes(32), COST + b"s" * 64, 2), SealedKey(bytes(32), COST + b"t" * 64, 2))
    behind = raw_of(preamble(2).envelopes[1], SealedKey(bytes(32), COST + b"s" * 64, 2))
    for raw in (twice, protected(more=1), protected(more=63), behind, protected(recipient=bytes(31) + b"\x01")):
        assert refusal(raw) == "K-12"


def raw_of(*envelopes: SealedKey) -> bytes:
    return write_preamble_bytes(Preamble(1, b"b" * 16, b"p" * 32, b"c" * 32, envelopes))


def test_a_suite_without_passphrases_refuses_them() -> None:
    with pytest.raises(FormatError, match="K-12"):
        parse_preamble_bytes(protected(), lambda _: Shape(digest_size=32, envelope_sizes={1: 1168}))


@pytest.mark.parametrize(
    "cost",
    [
        (2**30, 1, 1),
        (2**32 - 1, 3, 4),
        (512 * 1024 + 1, 3, 4),
        (7, 1, 1),
        (0, 1, 1),
        (64, 0, 1),
        (64, 17, 1),
        (64, 2**32 - 1, 1),
        (64, 1, 0),
        (1024, 1, 17),
        (2**19, 1, 2**24 - 1),
        (64, 1, 9),
    ],
)
def test_a_hostile_cost_is_refused(cost: tuple[int, int, int]) -> None:
    assert refusal(protected(struct.pack("<III", *cost))) == "K-14"


def test_the_limits_of_a_cost_are_inside() -> None:
    for cost in ((512 * 1024, 16, 16), (8, 1, 1), (128, 1, 16)):
        assert parse_preamble_bytes(protected(struct.pack("<III", *cost)), shape_of).under_passphrase


@pytest.mark.parametrize("length", [0, 75, 77, 1168])
def test_a_passphrase_envelope_of_another_length_is_refused(length: int) -> None:
    sealed = (COST + b"s" * 2000)[:length]
    assert refusal(raw_of(SealedKey(bytes(32), sealed, 2))) == "K-6"


def test_a_cut_passphrase_preamble_is_refused() -> None:
    raw = protected()
    for size in range(len(raw)):
        assert refusal(raw[:size]) == "K-6"
    assert refusal(raw + b"\0") == "K-6"


@given(st.binary(max_size=200), st.integers(0, 3))
def test_garbage_gives_a_value_or_a_format_error(noise: bytes, count: int) -> None:
    raw = bytes([1, count, 0, 0]) + noise
    for candidate in (noise, raw, (raw + bytes(84 + count * 1204))[: 84 + count * 1204]):
        try:
            value = parse_preamble_bytes(candidate, shape_of)
        except FormatError:
            continue
        assert write_preamble_bytes(value) == candidate
