import contextlib
import hashlib
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from airbundle.crypto.identities import (
    PrivateIdentity,
    PublicIdentity,
    bip39,
    fingerprint_hex,
    fingerprint_words,
    generate,
    parse_fingerprint,
)
from airbundle.crypto.suites import CNSA2, STANDARD, Suite
from airbundle.errors import FormatError, UsageError
from tests.crypto.people import both_suites, fields, half_of, identity, with_halves

P = 2**255 - 19


def test_key_id_is_what_the_spec_says(alice: PrivateIdentity) -> None:
    public = alice.public
    assert fields(STANDARD) == ["ed25519", "mldsa", "mlkem", "x25519"]
    assert [len(key) for key in public.keys] == [32, 1952, 1184, 32]
    assert public.key_id == blake3(b"airbundle/key/v1\0\x01" + b"".join(public.keys)).digest()
    assert public.fingerprint == public.key_id[:16]


def test_key_id_of_cnsa2_is_what_the_spec_says() -> None:
    public = identity(1, CNSA2).public
    assert fields(CNSA2) == ["mldsa", "mlkem"]
    assert [len(key) for key in public.keys] == [2592, 1568]
    assert public.key_id == hashlib.sha384(b"airbundle/key/v1\0\x02" + b"".join(public.keys)).digest()
    assert public.fingerprint == public.key_id[:16]


@both_suites
def test_every_key_and_the_order_count(suite: Suite, alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    ids = {alice.public.key_id}
    for name in fields(suite):
        ids.add(with_halves(alice.public, **{name: half_of(bob.public, name)}).key_id)
    assert len(ids) == 1 + len(suite.halves)
    if suite is STANDARD:
        ed25519, x25519 = half_of(alice.public, "ed25519"), half_of(alice.public, "x25519")
        ids.add(with_halves(alice.public, ed25519=x25519, x25519=ed25519).key_id)
        assert len(ids) == 6


@pytest.mark.parametrize(("suite", "places"), [(STANDARD, (31, 63, 95, 159)), (CNSA2, (31, 63))], indirect=["suite"])
def test_seeds_lie_in_the_order_of_the_halves(suite: Suite, places: tuple[int, ...]) -> None:
    base = bytes(suite.seeds_size)
    changed = []
    for at in places:  # ML-KEM's last 32 bytes are for rejecting and not in the public key
        seeds = bytearray(base)
        seeds[at] ^= 32
        one, other = PrivateIdentity(suite, base).public, PrivateIdentity(suite, bytes(seeds)).public
        changed.append([a != b for a, b in zip(one.keys, other.keys, strict=True)])
    assert changed == [[i == j for j in range(len(places))] for i in range(len(places))]


def test_generate_takes_its_entropy_from_outside() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return b"\x01" * size

    assert generate(entropy=entropy).secret_bytes() == b"\x01" * 160
    assert generate(CNSA2, entropy=entropy).secret_bytes() == b"\x01" * 96
    assert asked == [160, 96]
    assert generate().public.key_id != generate().public.key_id
    assert generate(CNSA2).suite is CNSA2


def test_words_and_hex(alice: PrivateIdentity) -> None:
    words = alice.public.words.split(" ")
    assert len(words) == 12
    assert [len(group) for group in alice.public.hex.split(" ")] == [4] * 8
    # The vectors of BIP-39.
    assert fingerprint_words(bytes(16)) == "abandon " * 11 + "about"
    assert fingerprint_words(b"\x7f" * 16) == (
        "legal winner thank year wave sausage worth useful legal winner thank yellow"
    )
    assert fingerprint_hex(bytes.fromhex("00112233445566778899aabbccddeeff") + b"more") == (
        "0011 2233 4455 6677 8899 aabb ccdd eeff"
    )


def test_words_match_an_independent_computation(alice: PrivateIdentity) -> None:
    digits = alice.public.fingerprint
    bits = int.from_bytes(digits, "big") << 4 | hashlib.sha256(digits).digest()[0] >> 4
    from mnemonic import Mnemonic

    words = Mnemonic("english").wordlist
    assert alice.public.words.split() == [words[bits >> 11 * (11 - i) & 2047] for i in range(12)]


@given(st.binary(min_size=16, max_size=16))
def test_fingerprint_round_trip(digits: bytes) -> None:
    words, text = fingerprint_words(digits), fingerprint_hex(digits)
    for form in [words, words.upper(), "  " + words.replace(" ", " \n\t ") + "\n", words.replace(" ", ", ")]:
        assert parse_fingerprint(form) == digits
    for form in [text, text.upper(), text.replace(" ", ""), text.replace(" ", ":"), text.replace(" ", "-")]:
        assert parse_fingerprint(form) == digits


def test_an_unknown_word_is_named_with_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        parse_fingerprint("abandon " * 10 + "abandn about")
    assert "word 11, 'abandn'" in caught.value.what
    assert "abandon" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("", "abandon", "abandon " * 12, "abandon " * 13, "about " + "abandon " * 11),
        *("ab" * 15, "ab" * 17, "zz" * 16),
        *("\u202e " * 12, "\ud800 " * 12, "abandon " * 11 + "\x1b[2J"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fingerprint(text)
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize("size", [20, 32])
def test_a_good_sentence_of_more_words_is_no_fingerprint(size: int) -> None:
    with pytest.raises(UsageError, match=f"this is {size * 3 // 4} words"):
        parse_fingerprint(bip39().to_mnemonic(bytes(size)))


@given(st.text(max_size=60))
def test_any_text_gives_a_fingerprint_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert len(parse_fingerprint(text)) == 16


def small_order() -> list[bytes]:
    """The points of order 1, 2, 4 and 8 of edwards25519, from its equation."""
    d = -121665 * pow(121666, -1, P) % P

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        t = d * a[0] * b[0] * a[1] * b[1] % P
        x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + t, -1, P) % P
        return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P

    found: set[tuple[int, int]] = set()
    y = 2
    while len(found) < 8:
        y += 1
        square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if x * x % P != square:
            x = x * pow(2, (P - 1) // 4, P) % P
        if x * x % P != square:
            continue
        point, base, order = (0, 1), (x, y), 2**252 + 27742317777372353535851937790883648493
        for bit in f"{order:b}":
            point = add(point, point)
            if bit == "1":
                point = add(point, base)
        found.add(point)
    return [(y | (x & 1) << 255).to_bytes(32, "little") for x, y in found]


def test_ed25519_keys_of_small_order_are_refused(alice: PrivateIdentity) -> None:
    points = small_order()
    assert len(points) == 8
    for point in points:
        for spelling in (point, point[:-1] + bytes([point[-1] ^ 0x80])):  # the y alone decides (K-3)
            with pytest.raises(FormatError, match="small order"):
                with_halves(alice.public, ed25519=spelling)


def test_points_have_one_spelling(alice: PrivateIdentity) -> None:
    x = int.from_bytes(half_of(alice.public, "x25519"), "little")
    bad: list[dict[str, Any]] = [
        {"x25519": (x | 1 << 255).to_bytes(32, "little")},  # the same point for X25519, another half for K-4
        {"x25519": (P + 9).to_bytes(32, "little")},
        {"x25519": P.to_bytes(32, "little")},
        {"ed25519": P.to_bytes(32, "little")},
        {"ed25519": (P + 3).to_bytes(32, "little")},
        {"ed25519": (P + 3 | 1 << 255).to_bytes(32, "little")},
    ]
    for change in bad:
        with pytest.raises(FormatError, match="canonical"):
            with_halves(alice.public, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"ed25519": bytes(31)},
        {"mldsa": bytes(1951)},
        {"mlkem": bytes(1185)},
        {"x25519": b""},
        {"mlkem": b"\xff" * 1184},
        {"x25519": bytes(32)},
        {"x25519": b"\x01" + bytes(31)},
    ],
)
def test_keys_that_cannot_be_used_are_refused(alice: PrivateIdentity, change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="K-3"):
        with_halves(alice.public, **change)


@pytest.mark.parametrize(
    "change",
    [{"mldsa": bytes(2591)}, {"mldsa": bytes(1952)}, {"mlkem": bytes(1569)}, {"mlkem": b"\xff" * 1568}, {"mlkem": b""}],
)
def test_keys_of_cnsa2_that_cannot_be_used_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="K-3"):
        with_halves(identity(1, CNSA2).public, **change)


@both_suites
def test_a_wrong_number_of_seed_bytes_is_refused(suite: Suite) -> None:
    for size in (0, suite.seeds_size - 1, suite.seeds_size + 1):
        with pytest.raises(FormatError):
            PrivateIdentity(suite, bytes(size))


@both_suites
def test_a_wrong_number_of_keys_is_refused(suite: Suite, alice: PrivateIdentity) -> None:
    for keys in (alice.public.keys[:-1], (*alice.public.keys, b""), ()):
        with pytest.raises(FormatError, match="K-3"):
            PublicIdentity(suite, keys)


@both_suites
def test_no_secret_is_shown(alice: PrivateIdentity) -> None:
    for text in (repr(alice), str(alice), f"{alice}", repr([alice])):
        assert text.strip("[]") == f"PrivateIdentity({alice.public.hex})"
    assert isinstance(alice.public, PublicIdentity)
    assert repr(alice.public) == f"PublicIdentity({alice.public.hex})"
