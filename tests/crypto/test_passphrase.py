"""Passphrases, the envelopes under them, and the three ways to lock a bundle."""

import dataclasses
import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from mnemonic import Mnemonic

from airbundle.crypto import passphrase as passphrases
from airbundle.crypto.envelope import (
    BundleKey,
    Context,
    Keyring,
    open_passphrase_envelope,
    open_preamble,
    parse_preamble,
    preamble_length,
    write_passphrase_preamble,
    write_preamble,
)
from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.locks import PassphraseLock, RecipientLock, WordsLock
from airbundle.crypto.passphrase import Passphrase, fresh_words
from airbundle.crypto.suites import CNSA2, STANDARD
from airbundle.errors import ForgedError, FormatError, MediumError, NoKeyError, UsageError
from airbundle.format.cost import PassphraseCost
from airbundle.format.preamble import Preamble, SealedKey, write_preamble_bytes

CHEAP = PassphraseCost(memory_kib=64, iterations=1, lanes=1)
TEXT = "correct horse battery"
SECRET = Passphrase(TEXT)
CONTEXT = Context(STANDARD, b"b" * 16, b"p" * 32)
KEY = BundleKey(bytes(range(32)))


def written(context: Context = CONTEXT, key: BundleKey = KEY, passphrase: Passphrase = SECRET) -> bytes:
    return write_passphrase_preamble(context, key, passphrase, cost=CHEAP)


def test_there_and_back() -> None:
    raw = written()
    assert len(raw) == 196 == preamble_length(STANDARD, 0)
    preamble = parse_preamble(raw)
    assert (preamble.under_passphrase, preamble.recipients) == (True, ())
    assert open_preamble(preamble, Keyring(passphrase=Passphrase(TEXT))).secret_bytes() == KEY.secret_bytes()
    assert written() != raw  # a fresh salt


def test_the_envelope_is_what_the_spec_says() -> None:
    raw = write_passphrase_preamble(CONTEXT, KEY, SECRET, cost=CHEAP, entropy=lambda n: b"s" * n)
    stretched = Argon2id(salt=b"s" * 16, length=32, iterations=1, lanes=1, memory_cost=64).derive(TEXT.encode())
    info = b"airbundle/passphrase/v1\0\x01" + b"b" * 16 + b"p" * 32
    key = hmac.new(stretched, info + b"\x01", hashlib.sha256).digest()
    sealed = AESGCM(key).encrypt(bytes(12), KEY.secret_bytes(), None)
    assert raw[84:88] == bytes([2, 0]) + struct.pack("<H", 76)
    assert raw[88:] == bytes(32) + struct.pack("<III", 64, 1, 1) + b"s" * 16 + sealed


def test_what_is_written_by_default_is_what_the_spec_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Passphrase, "stretch", lambda *_: bytes(32))
    raw = write_passphrase_preamble(CONTEXT, KEY, SECRET)
    assert struct.unpack_from("<III", raw, 120) == (256 * 1024, 3, 4)


def test_composed_and_decomposed_letters_are_one_passphrase() -> None:
    preamble = parse_preamble(written(passphrase=Passphrase("p\u00e4ssword")))
    found = open_preamble(preamble, Keyring(passphrase=Passphrase("pa\u0308ssword")))
    assert found.secret_bytes() == KEY.secret_bytes()


def test_four_answers_of_a_reader(alice: PrivateIdentity) -> None:
    protected = parse_preamble(written())
    sealed = parse_preamble(write_preamble(CONTEXT, KEY, [alice.public]))
    answers = []
    for preamble, keyring in (
        (protected, Keyring(passphrase=Passphrase(TEXT.upper()))),
        (protected, Keyring()),
        (protected, Keyring((alice,))),
        (sealed, Keyring(passphrase=SECRET)),
    ):
        with pytest.raises(NoKeyError) as caught:
            open_preamble(preamble, keyring)
        assert caught.value.exit_status == 8
        assert TEXT.upper() not in str(caught.value) + caught.value.hint
        answers.append((caught.value.what, caught.value.hint))
    assert answers[0][0] == "the passphrase does not open this bundle"
    assert answers[1][0] == "this bundle is under a passphrase"
    assert answers[2][0] == "this bundle is under a passphrase, not sealed to keys"
    assert all("--passphrase-file" in hint for _, hint in answers[1:3])
    assert answers[3][0] == "this bundle is sealed to keys, not under a passphrase"
    assert alice.public.hex in answers[3][1]
    for preamble in (protected, sealed):  # with both on the ring the one that fits is used
        assert open_preamble(preamble, Keyring((alice,), SECRET)).secret_bytes() == KEY.secret_bytes()


@pytest.mark.parametrize(
    "context",
    [Context(STANDARD, b"c" + b"b" * 15, b"p" * 32), Context(STANDARD, b"b" * 16, b"q" + b"p" * 31),
     Context(dataclasses.replace(STANDARD, number=9), b"b" * 16, b"p" * 32)],
)
def test_an_envelope_that_was_moved_does_not_open(context: Context) -> None:
    """The right passphrase, and salt and cost have moved along; suite, bundle and packer are bound."""
    (envelope,) = parse_preamble(written()).envelopes
    assert open_passphrase_envelope(CONTEXT, envelope.sealed, SECRET).secret_bytes() == KEY.secret_bytes()
    with pytest.raises(NoKeyError, match="K-13"):
        open_passphrase_envelope(context, envelope.sealed, SECRET)


def test_an_envelope_that_opens_to_another_key_is_forged() -> None:
    (envelope,) = parse_preamble(written(key=BundleKey(b"o" * 32))).envelopes
    forged = Preamble(1, CONTEXT.bundle_id, CONTEXT.packer_id, KEY.commitment(CONTEXT), (envelope,))
    with pytest.raises(ForgedError) as caught:
        open_preamble(parse_preamble(write_preamble_bytes(forged)), Keyring(passphrase=SECRET))
    assert caught.value.rule == "K-8"


def test_a_flip_anywhere_has_the_right_class() -> None:
    raw = written()

    def answer(at: int) -> str:
        flipped = bytearray(raw)
        flipped[at] ^= 1
        try:
            open_preamble(parse_preamble(bytes(flipped)), Keyring(passphrase=SECRET))
        except (FormatError, NoKeyError, ForgedError) as error:
            return type(error).__name__
        return "opened"

    answers = [answer(at) for at in range(len(raw))]
    assert set(answers[:4]) == {"FormatError"}
    assert set(answers[4:52]) == {"NoKeyError"}  # bundle id and packer
    assert set(answers[52:84]) == {"ForgedError"}  # commitment
    assert set(answers[84:120]) == {"FormatError"}  # type, length, and the zeros that name nobody
    assert set(answers[120:132]) <= {"NoKeyError", "FormatError"}  # cost
    assert set(answers[132:]) == {"NoKeyError"}


def test_a_hostile_cost_never_reaches_argon2id(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytearray(written())
    ran: list[object] = []
    monkeypatch.setattr(passphrases, "Argon2id", lambda **cost: ran.append(cost))
    for cost in ((2**30, 1, 1), (64, 0, 1), (64, 1, 0), (2**19, 1, 2**24 - 1), (512 * 1024 + 1, 1, 1)):
        struct.pack_into("<III", raw, 120, *cost)
        with pytest.raises(FormatError, match="K-14"):
            parse_preamble(bytes(raw))
        with pytest.raises(FormatError, match="K-14"):
            open_passphrase_envelope(CONTEXT, bytes(raw[120:]), SECRET)
    assert not ran


def test_memory_that_is_not_there_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starved:
        def __init__(self, **_: object) -> None:
            pass

        def derive(self, _: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(passphrases, "Argon2id", Starved)
    with pytest.raises(MediumError, match="512 MiB"):
        SECRET.stretch(bytes(16), PassphraseCost(memory_kib=512 * 1024))


def test_the_suite_decides_whether_there_are_passphrases() -> None:
    context = Context(CNSA2, b"b" * 16, b"p" * 48)
    with pytest.raises(UsageError, match="K-12"):
        write_passphrase_preamble(context, KEY, SECRET, cost=CHEAP)
    envelope = parse_preamble(written()).envelopes[0]
    forged = Preamble(2, b"b" * 16, b"p" * 48, KEY.commitment(context), (SealedKey(bytes(48), envelope.sealed, 2),))
    with pytest.raises(FormatError, match="K-12"):
        parse_preamble(write_preamble_bytes(forged))


def test_short_empty_and_broken_passphrases() -> None:
    for text in ("", "\ud800"):
        with pytest.raises(UsageError):
            Passphrase(text)
    with pytest.raises(UsageError, match="K-16"):
        written(passphrase=Passphrase("seven77"))
    with pytest.raises(UsageError, match="K-16"):
        written(passphrase=Passphrase("eight888\u0378"))
    assert written(passphrase=Passphrase("eight888"))


def test_no_passphrase_is_shown() -> None:
    lock = WordsLock(print, cost=CHEAP)
    for value in (SECRET, PassphraseLock(SECRET), Keyring(passphrase=SECRET)):
        assert "horse" not in f"{value!r} {value}"
    first, second = lock.words.split()[:2]  # one alone may be a word of the class's own, such as 'phrase'
    assert f"{first} {second}" not in repr(lock)


def test_fresh_words_are_110_bits_of_the_entropy() -> None:
    known = Mnemonic("english").wordlist
    words = fresh_words()
    assert len(words.split(" ")) == 10
    assert set(words.split(" ")) <= set(known)
    assert words != fresh_words()
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return (sum((3 * place + 1) << 11 * place for place in range(10)) | 3 << 110).to_bytes(size, "big")

    assert fresh_words(entropy=entropy).split(" ") == [known[3 * place + 1] for place in range(10)]
    assert asked == [14]
    assert fresh_words(entropy=lambda size: b"\xff" * size) == "zoo " * 9 + "zoo"


def test_a_lock_of_keys(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    lock = RecipientLock((alice.public, bob.public))
    raw = lock.write(CONTEXT, KEY, entropy=bytes)
    assert len(raw) == lock.preamble_size(STANDARD)
    assert lock.facts == [alice.public.key_id.hex(), bob.public.key_id.hex()]
    assert lock.fits(raw, KEY)
    assert not lock.words
    lock.require_suite(STANDARD)
    with pytest.raises(UsageError, match="K-2"):
        lock.require_suite(CNSA2)


def test_locks_of_a_passphrase_say_nothing_of_it() -> None:
    first, second = PassphraseLock(SECRET, CHEAP), PassphraseLock(Passphrase("another one"), CHEAP)
    assert first.facts == second.facts == "passphrase"
    raw = first.write(CONTEXT, KEY, entropy=bytes)
    assert len(raw) == first.preamble_size(STANDARD)
    assert first.fits(raw, KEY)
    assert not second.fits(raw, KEY)
    assert not first.fits(raw, BundleKey(b"o" * 32))
    words = WordsLock(print, CHEAP)
    assert words.facts == "fresh words"
    assert len(words.write(CONTEXT, KEY, entropy=bytes)) == words.preamble_size(STANDARD)
    for lock in (first, words):
        lock.require_suite(STANDARD)
        with pytest.raises(UsageError, match="K-12"):
            lock.require_suite(CNSA2)
    with pytest.raises(UsageError, match="K-16"):
        PassphraseLock(Passphrase("short")).require_suite(STANDARD)


def test_words_are_told_as_they_are() -> None:
    told: list[str] = []
    WordsLock(told.append, CHEAP).show("words of an earlier run")
    assert told == ["words of an earlier run"]
