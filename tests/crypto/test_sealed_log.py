import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.sealed_log import open_entry, open_from_self, seal_entry, seal_to_self
from airbundle.crypto.signing import sign
from airbundle.crypto.suites import CNSA2, STANDARD
from airbundle.errors import ForgedError, FormatError
from tests.crypto.people import both_suites

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = b"k" * 32


@both_suites
@pytest.mark.parametrize("payload", [b"", b"head", b"x" * 100_000])
def test_round_trip(alice: PrivateIdentity, payload: bytes) -> None:
    raw = seal_to_self(alice, payload, "journal")
    assert len(raw) == len(payload) + {1: 4509, 2: 4627 + 1584}[alice.suite.number]
    assert open_from_self(alice, raw, "journal") == payload
    assert b"head" not in raw


@both_suites
def test_another_owner_or_purpose_does_not_open(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    raw = seal_to_self(alice, b"head", "journal")
    with pytest.raises(FormatError):
        open_from_self(bob, raw, "journal")
    with pytest.raises(FormatError):
        open_from_self(alice, raw, "ledger")


def info(identity: PrivateIdentity) -> bytes:
    return b"airbundle/journal/v1\0" + bytes([identity.suite.number]) + identity.public.key_id


@both_suites
def test_what_others_seal_to_the_owner_is_forged(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    """HPKE has no sender: anybody can make a journal that opens, with a bundle key of their choice."""
    kind = "application/vnd.airbundle.journal.v1"
    for value in [
        bytes(alice.suite.signature_size),
        sign(bob, kind, b"evil").value,
        sign(alice, kind, b"good").value,
        sign(alice, "application/vnd.airbundle.ledger.v1", b"evil").value,
    ]:
        raw = alice.public.seal(value + b"evil", info(alice))
        with pytest.raises(ForgedError):
            open_from_self(alice, raw, "journal")
    ledger = b"airbundle/ledger/v1\0" + info(alice)[len(b"airbundle/journal/v1\0") :]
    moved = alice.public.seal(sign(alice, kind, b"good").value + b"good", ledger)
    with pytest.raises(ForgedError):  # the purpose is signed, not only sealed
        open_from_self(alice, moved, "ledger")
    honest = alice.public.seal(sign(alice, kind, b"good").value + b"good", info(alice))
    assert open_from_self(alice, honest, "journal") == b"good"


@both_suites
def test_damage_is_a_format_error(alice: PrivateIdentity) -> None:
    raw = seal_to_self(alice, b"head", "journal")
    for at in [*range(0, len(raw), 101), len(raw) - 1]:
        flipped = bytearray(raw)
        flipped[at] ^= 1
        with pytest.raises(FormatError):
            open_from_self(alice, bytes(flipped), "journal")
    short = alice.public.seal(bytes(alice.suite.signature_size - 1), info(alice))
    for wrong in [b"", raw[:-1], raw[:1120], raw + b"\0", short]:
        with pytest.raises(FormatError):
            open_from_self(alice, wrong, "journal")


def test_size_is_checked_first(alice: PrivateIdentity) -> None:
    raw = seal_to_self(alice, b"head", "journal")
    assert open_from_self(alice, raw, "journal", limit=len(raw)) == b"head"
    with pytest.raises(FormatError, match="at most"):
        open_from_self(alice, raw, "journal", limit=len(raw) - 1)


def test_entries_round_trip_with_a_fresh_salt_each() -> None:
    entries = [seal_entry(KEY, 5, b"entry", "journal", suite=STANDARD) for _ in range(3)]
    assert len({entry[:16] for entry in entries}) == 3
    assert len({entry[16:] for entry in entries}) == 3
    for entry in entries:
        assert len(entry) == 16 + 5 + 16
        assert open_entry(KEY, 5, entry, "journal", suite=STANDARD) == b"entry"


def test_an_entry_is_what_its_docstring_says() -> None:
    raw = seal_entry(KEY, 5, b"entry", "journal", suite=STANDARD, entropy=lambda n: b"s" * n)
    info = b"airbundle/journal/v1\0" + (5).to_bytes(8, "little") + b"s" * 16
    key = hmac.new(KEY, info + b"\x01", hashlib.sha256).digest()
    assert raw == b"s" * 16 + AESGCM(key).encrypt(bytes(12), b"entry", None)


def test_an_entry_of_cnsa2_has_a_key_of_its_kdf() -> None:
    raw = seal_entry(KEY, 5, b"entry", "journal", suite=CNSA2, entropy=lambda n: b"s" * n)
    info = b"airbundle/journal/v1\0" + (5).to_bytes(8, "little") + b"s" * 16
    key = hmac.new(KEY, info + b"\x01", hashlib.sha384).digest()[:32]
    assert raw == b"s" * 16 + AESGCM(key).encrypt(bytes(12), b"entry", None)
    assert open_entry(KEY, 5, raw, "journal", suite=CNSA2) == b"entry"
    with pytest.raises(FormatError):
        open_entry(KEY, 5, raw, "journal", suite=STANDARD)


def test_place_purpose_key_and_every_byte_of_an_entry_are_bound() -> None:
    raw = seal_entry(KEY, 5, b"entry", "journal", suite=STANDARD)
    attempts: list[Callable[[], bytes]] = [
        lambda: open_entry(KEY, 4, raw, "journal", suite=STANDARD),
        lambda: open_entry(KEY, 5, raw, "ledger", suite=STANDARD),
        lambda: open_entry(b"x" * 32, 5, raw, "journal", suite=STANDARD),
    ]
    for attempt in attempts:
        with pytest.raises(FormatError):
            attempt()
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1
        with pytest.raises(FormatError):
            open_entry(KEY, 5, bytes(flipped), "journal", suite=STANDARD)
    for size in range(len(raw)):
        with pytest.raises(FormatError):
            open_entry(KEY, 5, raw[:size], "journal", suite=STANDARD)


@pytest.mark.parametrize(
    "purpose", ["seal", "commit", "envelope", "passphrase", "root", "key", "", "Journal", "a/b", "a\n", "x" * 33]
)
def test_a_purpose_is_no_other_use_of_a_key(alice: PrivateIdentity, purpose: str) -> None:
    with pytest.raises(ValueError, match="purpose"):
        seal_to_self(alice, b"", purpose)
    with pytest.raises(ValueError, match="purpose"):
        seal_entry(KEY, 0, b"", purpose, suite=STANDARD)


def test_the_key_of_a_log_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        seal_entry(b"short", 0, b"", "journal", suite=STANDARD)
