import dataclasses
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey, MLKEM1024PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from airbundle.crypto.envelope import (
    BundleKey,
    Context,
    Keyring,
    open_envelope,
    open_preamble,
    parse_preamble,
    preamble_context,
    preamble_length,
    seal_envelope,
    write_preamble,
)
from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.suites import CNSA2, STANDARD, Suite
from airbundle.errors import ForgedError, FormatError, NoKeyError, UsageError
from airbundle.format.preamble import Preamble, SealedKey, write_preamble_bytes
from tests.crypto.people import both_suites, half_of, identity

if TYPE_CHECKING:
    from collections.abc import Callable

PACKER = b"p" * 32
CONTEXT = Context(STANDARD, b"b" * 16, PACKER)
KEY = BundleKey(bytes(range(32)))
SIZES = {1: 1168, 2: 1616}


def context_of(suite: Suite) -> Context:
    return Context(suite, b"b" * 16, b"p" * suite.digest_size)


def sealing_key(identity: PrivateIdentity) -> Any:
    """The public key for HPKE, made without the package."""
    if identity.suite is CNSA2:
        return MLKEM1024PublicKey.from_public_bytes(half_of(identity.public, "mlkem"))
    mlkem, x25519 = half_of(identity.public, "mlkem"), half_of(identity.public, "x25519")
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
    )


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


def test_cnsa2_derives_with_sha_384() -> None:
    context = context_of(CNSA2)
    encoded = b"\x02" + b"b" * 16 + b"p" * 48
    expected = hmac.new(bytes(range(32)), b"airbundle/commit/v1\0" + encoded + b"\x01", hashlib.sha384).digest()
    assert KEY.commitment(context) == expected
    info = b"airbundle/seal/v1\0" + encoded + (7).to_bytes(8, "little") + b"s" * 16
    okm = hmac.new(bytes(range(32)), info + b"\x01", hashlib.sha384).digest()
    assert KEY.object_key(context, 7, b"s" * 16) == okm[:32]


@both_suites
def test_an_envelope_opens_for_its_recipient_alone(suite: Suite, alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    context = context_of(suite)
    sealed = seal_envelope(context, KEY, alice.public)
    assert len(sealed) == SIZES[suite.number]
    assert open_envelope(context, sealed, alice).secret_bytes() == KEY.secret_bytes()
    with pytest.raises(NoKeyError, match="K-5"):
        open_envelope(context, sealed, bob)
    assert sealed != seal_envelope(context, KEY, alice.public)


@both_suites
def test_the_envelope_is_hpke_as_the_spec_says(suite: Suite, alice: PrivateIdentity) -> None:
    kem, kdf = (hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384) if suite is CNSA2 else (
        hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256)
    info = b"airbundle/envelope/v1\0" + bytes([suite.number]) + b"b" * 16 + b"p" * suite.digest_size
    sealed = hpke.Suite(kem, kdf, hpke.AEAD.AES_256_GCM).encrypt(KEY.secret_bytes(), sealing_key(alice), info=info)
    assert open_envelope(context_of(suite), sealed, alice).secret_bytes() == KEY.secret_bytes()


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


def test_keys_of_the_two_suites_do_not_meet(alice: PrivateIdentity) -> None:
    """A writer refuses the recipient (K-2); a reader says of which suite the bundle is."""
    other = identity(1, CNSA2)
    for packer, recipient in ((STANDARD, other), (CNSA2, alice)):
        with pytest.raises(UsageError, match="K-2") as refused:
            write_preamble(context_of(packer), KEY, [recipient.public])
        assert refused.value.exit_status == 2
        assert recipient.suite.name in refused.value.what
        assert packer.name in refused.value.hint
    for sealed_to, reader in ((alice, other), (other, alice)):
        preamble = parse_preamble(write_preamble(context_of(sealed_to.suite), KEY, [sealed_to.public]))
        with pytest.raises(NoKeyError) as caught:
            open_preamble(preamble, Keyring((reader,)))
        assert sealed_to.suite.name in caught.value.what
        assert sealed_to.public.hex in caught.value.hint


@both_suites
def test_a_flip_anywhere_in_an_envelope_does_not_open(suite: Suite, alice: PrivateIdentity) -> None:
    context, size = context_of(suite), SIZES[suite.number]
    sealed = seal_envelope(context, KEY, alice.public)
    for at in [*range(0, size, 13), 1087, 1088, 1119, 1120, 1151, 1152, size - 49, size - 48, size - 1]:
        flipped = bytearray(sealed)
        flipped[at] ^= 1
        with pytest.raises(NoKeyError):
            open_envelope(context, bytes(flipped), alice)
    for wrong in [b"", sealed[:-1], sealed + b"\0"]:
        with pytest.raises(NoKeyError):
            open_envelope(context, wrong, alice)


@both_suites
def test_preamble_round_trip(
    suite: Suite, alice: PrivateIdentity, bob: PrivateIdentity, carol: PrivateIdentity
) -> None:
    context = context_of(suite)
    raw = write_preamble(context, KEY, [alice.public, bob.public])
    preamble = parse_preamble(raw)
    assert len(raw) == preamble_length(suite, 2)
    assert preamble_context(preamble) == context
    assert preamble.recipients == (alice.public.key_id, bob.public.key_id)
    assert preamble.commitment == KEY.commitment(context)
    for identities in ([alice], [bob], [carol, bob], [bob, alice]):
        assert open_preamble(preamble, Keyring(tuple(identities))).secret_bytes() == KEY.secret_bytes()


def test_nobody_here_is_a_recipient(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    preamble = parse_preamble(write_preamble(CONTEXT, KEY, [alice.public]))
    for identities in ([bob], []):
        with pytest.raises(NoKeyError) as caught:
            open_preamble(preamble, Keyring(tuple(identities)))
        assert alice.public.hex in caught.value.hint


def test_recipients_are_1_to_64_and_each_once(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    for recipients in ([], [alice.public] * 2, [alice.public, bob.public, alice.public], [alice.public] * 65):
        with pytest.raises(UsageError, match="K-6"):
            write_preamble(CONTEXT, KEY, recipients)


@both_suites
def test_sixty_four_recipients_fit(suite: Suite) -> None:
    """K-6: the preamble has at most 128 KiB in either suite."""
    recipients = [identity(number, suite).public for number in range(64)]
    raw = write_preamble(context_of(suite), KEY, recipients)
    assert len(raw) == {1: 77_140, 2: 106_868}[suite.number] == preamble_length(suite, 64)
    assert len(parse_preamble(raw).envelopes) == 64


def test_an_unknown_suite_is_refused() -> None:
    for number in (0, 3, 255):
        with pytest.raises(FormatError, match="K-1"):
            parse_preamble(bytes([number]) + bytes(2000))


def test_the_envelopes_of_one_suite_are_none_of_the_other(alice: PrivateIdentity) -> None:
    """Only the suite's number is changed, or only the sizes are those of the other suite."""
    raw = write_preamble(CONTEXT, KEY, [alice.public])
    for wrong in (b"\x02" + raw[1:], b"\x02" + raw[1:] + bytes(1_000)):
        with pytest.raises(FormatError, match="K-6"):
            parse_preamble(wrong)


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
    assert open_preamble(preamble, Keyring((alice,))).secret_bytes() == KEY.secret_bytes()
    with pytest.raises(ForgedError) as caught:
        open_preamble(preamble, Keyring((bob,)))
    assert caught.value.rule == "K-8"
    assert (b"o" * 32).hex() not in str(caught.value)


def test_an_envelope_with_our_name_for_someone_else_does_not_open(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    for_bob = seal_envelope(CONTEXT, KEY, bob.public)
    preamble = by_hand(KEY.commitment(CONTEXT), SealedKey(alice.public.key_id, for_bob))
    with pytest.raises(NoKeyError, match="K-5"):
        open_preamble(preamble, Keyring((alice,)))
    both = by_hand(
        KEY.commitment(CONTEXT), SealedKey(alice.public.key_id, for_bob), SealedKey(bob.public.key_id, for_bob)
    )
    assert open_preamble(both, Keyring((alice, bob))).secret_bytes() == KEY.secret_bytes()


def test_an_envelope_with_a_key_of_another_length_is_refused(alice: PrivateIdentity) -> None:
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    sealed = suite.encrypt(bytes(31), sealing_key(alice), info=b"airbundle/envelope/v1\0" + CONTEXT.encoded)
    with pytest.raises(NoKeyError):
        open_envelope(CONTEXT, sealed, alice)


def test_a_flip_anywhere_in_a_preamble_has_the_right_class(alice: PrivateIdentity) -> None:
    raw = write_preamble(CONTEXT, KEY, [alice.public])

    def answer(at: int) -> str:
        flipped = bytearray(raw)
        flipped[at] ^= 1
        try:
            key = open_preamble(parse_preamble(bytes(flipped)), Keyring((alice,)))
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
