import dataclasses
import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hpke
from hypothesis import given
from hypothesis import strategies as st

from airbundle.crypto.envelope import (
    BundleKey,
    Context,
    open_envelope,
    open_preamble,
    parse_preamble,
    preamble_context,
    seal_envelope,
    write_preamble,
)
from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.suites import STANDARD, Suite
from airbundle.errors import ForgedError, FormatError, NoKeyError, UsageError
from airbundle.format.preamble import Preamble, SealedKey, write_preamble_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

PACKER = b"p" * 32
CONTEXT = Context(STANDARD, b"b" * 16, PACKER)
KEY = BundleKey(bytes(range(32)))


def hkdf_expand(key: bytes, info: bytes) -> bytes:
    """RFC 5869, one block of 32 bytes, with the standard library alone."""
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def test_commitment_and_object_key_are_what_the_spec_says() -> None:
    context = b"\x01" + b"b" * 16 + PACKER
    assert KEY.commitment(CONTEXT) == hkdf_expand(bytes(range(32)), b"airbundle/commit/v1\0" + context)
    info = b"airbundle/seal/v1\0" + context + (7).to_bytes(8, "little") + b"s" * 16
    assert KEY.object_key(CONTEXT, 7, b"s" * 16) == hkdf_expand(bytes(range(32)), info)


def test_the_stdlib_computation_is_rfc_5869() -> None:
    # RFC 5869 A.1: PRK and info give the first block of OKM.
    prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    okm = hkdf_expand(prk, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"))
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_everything_in_the_context_counts() -> None:
    other_suite = dataclasses.replace(STANDARD, number=9)
    contexts = [
        CONTEXT,
        Context(other_suite, b"b" * 16, PACKER),
        Context(STANDARD, b"c" * 16, PACKER),
        Context(STANDARD, b"b" * 16, b"q" * 32),
    ]
    assert len({KEY.commitment(c) for c in contexts}) == 4
    keys = {KEY.object_key(c, 0, b"s" * 16) for c in contexts}
    keys |= {KEY.object_key(CONTEXT, 1, b"s" * 16), KEY.object_key(CONTEXT, 0, b"t" * 16)}
    assert len(keys) == 6


def test_values_check_their_sizes() -> None:
    refused: list[Callable[[], object]] = [
        lambda: BundleKey(bytes(31)),
        lambda: Context(STANDARD, bytes(15), PACKER),
        lambda: Context(STANDARD, bytes(16), bytes(48)),
        lambda: KEY.object_key(CONTEXT, 0, bytes(15)),
    ]
    for make in refused:
        with pytest.raises(FormatError):
            make()


def test_a_bundle_key_shows_nothing_and_takes_its_entropy_from_outside() -> None:
    assert repr(KEY) == str(KEY) == f"{KEY}" == "BundleKey(...)"
    assert BundleKey.generate(entropy=lambda n: b"x" * n).secret_bytes() == b"x" * 32
    assert BundleKey.generate().secret_bytes() != BundleKey.generate().secret_bytes()


def test_an_envelope_opens_for_its_recipient_alone(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    sealed = seal_envelope(CONTEXT, KEY, alice.public)
    assert len(sealed) == 1168
    assert open_envelope(CONTEXT, sealed, alice).secret_bytes() == KEY.secret_bytes()
    with pytest.raises(NoKeyError, match="K-5"):
        open_envelope(CONTEXT, sealed, bob)
    assert sealed != seal_envelope(CONTEXT, KEY, alice.public)


def test_the_envelope_is_hpke_as_the_spec_says(alice: PrivateIdentity) -> None:
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    info = b"airbundle/envelope/v1\0\x01" + b"b" * 16 + PACKER
    sealed = suite.encrypt(KEY.secret_bytes(), alice.public.hpke_key, info=info)
    assert open_envelope(CONTEXT, sealed, alice).secret_bytes() == KEY.secret_bytes()


@pytest.mark.parametrize(
    "context",
    [
        Context(STANDARD, b"c" + b"b" * 15, PACKER),
        Context(STANDARD, b"b" * 16, b"q" + PACKER[1:]),
    ],
)
def test_an_envelope_does_not_open_in_another_context(alice: PrivateIdentity, context: Context) -> None:
    with pytest.raises(NoKeyError, match="K-5"):
        open_envelope(context, seal_envelope(CONTEXT, KEY, alice.public), alice)


def other_suite() -> Suite:
    return dataclasses.replace(STANDARD, number=9, name="other")


def test_suites_do_not_mix(alice: PrivateIdentity) -> None:
    other = Context(other_suite(), b"b" * 16, PACKER)
    with pytest.raises(UsageError, match="K-2"):
        seal_envelope(other, KEY, alice.public)
    with pytest.raises(NoKeyError, match="K-5"):
        open_envelope(other, seal_envelope(CONTEXT, KEY, alice.public), alice)
    # The same seeds under another suite number: the info differs, not only the check of the suite.
    twin = PrivateIdentity(other_suite(), alice.secret_bytes())
    with pytest.raises(NoKeyError, match="does not open"):
        open_envelope(other, seal_envelope(CONTEXT, KEY, alice.public), twin)


def test_a_flip_anywhere_in_an_envelope_does_not_open(alice: PrivateIdentity) -> None:
    sealed = seal_envelope(CONTEXT, KEY, alice.public)
    for at in [*range(0, 1168, 13), 1087, 1088, 1119, 1120, 1151, 1152, 1167]:
        flipped = bytearray(sealed)
        flipped[at] ^= 1
        with pytest.raises(NoKeyError):
            open_envelope(CONTEXT, bytes(flipped), alice)
    for wrong in [b"", sealed[:-1], sealed + b"\0"]:
        with pytest.raises(NoKeyError):
            open_envelope(CONTEXT, wrong, alice)


def test_preamble_round_trip(alice: PrivateIdentity, bob: PrivateIdentity, carol: PrivateIdentity) -> None:
    raw = write_preamble(CONTEXT, KEY, [alice.public, bob.public])
    preamble = parse_preamble(raw)
    assert preamble_context(preamble) == CONTEXT
    assert preamble.recipients == (alice.public.key_id, bob.public.key_id)
    assert preamble.commitment == KEY.commitment(CONTEXT)
    for identities in ([alice], [bob], [carol, bob], [bob, alice]):
        assert open_preamble(preamble, identities).secret_bytes() == KEY.secret_bytes()


def test_nobody_here_is_a_recipient(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    preamble = parse_preamble(write_preamble(CONTEXT, KEY, [alice.public]))
    for identities in ([bob], []):
        with pytest.raises(NoKeyError) as caught:
            open_preamble(preamble, identities)
        assert alice.public.hex in caught.value.hint


def test_recipients_are_1_to_64_and_each_once(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    for recipients in ([], [alice.public] * 2, [alice.public, bob.public, alice.public], [alice.public] * 65):
        with pytest.raises(UsageError, match="K-6"):
            write_preamble(CONTEXT, KEY, recipients)


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(FormatError, match="K-1"):
        parse_preamble(b"\x02" + bytes(2000))


def by_hand(commitment: bytes, *envelopes: SealedKey) -> Preamble:
    return parse_preamble(write_preamble_bytes(Preamble(1, b"b" * 16, PACKER, commitment, envelopes)))


def test_an_envelope_that_opens_to_another_key_is_forged(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    """One packer, two recipients, two keys: what AES-GCM alone would let through."""
    other = BundleKey(b"o" * 32)
    preamble = by_hand(
        KEY.commitment(CONTEXT),
        SealedKey(alice.public.key_id, seal_envelope(CONTEXT, KEY, alice.public)),
        SealedKey(bob.public.key_id, seal_envelope(CONTEXT, other, bob.public)),
    )
    assert open_preamble(preamble, [alice]).secret_bytes() == KEY.secret_bytes()
    with pytest.raises(ForgedError) as caught:
        open_preamble(preamble, [bob])
    assert caught.value.rule == "K-8"
    assert (b"o" * 32).hex() not in str(caught.value)


def test_an_envelope_with_our_name_for_someone_else_does_not_open(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    for_bob = seal_envelope(CONTEXT, KEY, bob.public)
    preamble = by_hand(KEY.commitment(CONTEXT), SealedKey(alice.public.key_id, for_bob))
    with pytest.raises(NoKeyError, match="K-5"):
        open_preamble(preamble, [alice])
    both = by_hand(
        KEY.commitment(CONTEXT), SealedKey(alice.public.key_id, for_bob), SealedKey(bob.public.key_id, for_bob)
    )
    assert open_preamble(both, [alice, bob]).secret_bytes() == KEY.secret_bytes()


def test_an_envelope_with_a_key_of_another_length_is_refused(alice: PrivateIdentity) -> None:
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    sealed = suite.encrypt(bytes(31), alice.public.hpke_key, info=b"airbundle/envelope/v1\0" + CONTEXT.encoded)
    with pytest.raises(NoKeyError):
        open_envelope(CONTEXT, sealed, alice)


def test_a_flip_anywhere_in_a_preamble_has_the_right_class(alice: PrivateIdentity) -> None:
    raw = write_preamble(CONTEXT, KEY, [alice.public])

    def answer(at: int) -> str:
        flipped = bytearray(raw)
        flipped[at] ^= 1
        try:
            key = open_preamble(parse_preamble(bytes(flipped)), [alice])
        except (FormatError, NoKeyError, ForgedError) as error:
            return type(error).__name__
        return key.secret_bytes().hex()

    answers = [answer(at) for at in range(len(raw))]
    assert set(answers[:4]) == {"FormatError"}
    assert set(answers[4:52]) == {"NoKeyError"}  # the info of the envelope binds bundle id and packer
    assert set(answers[52:84]) == {"ForgedError"}
    assert set(answers[84:88]) == {"FormatError"}
    assert set(answers[88:]) == {"NoKeyError"}


@given(st.binary(max_size=300), st.integers(1, 2))
def test_garbage_gives_a_value_or_a_format_error(noise: bytes, count: int) -> None:
    whole = (bytes([1, count, 0, 0]) + noise + bytes(3000))[: 84 + count * 1204]
    for raw in (noise, whole):
        try:
            preamble = parse_preamble(raw)
        except FormatError:
            continue
        assert write_preamble_bytes(preamble) == raw
