import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.signing import check, group_copies, judge, pae, sign
from airbundle.crypto.suites import CNSA2, STANDARD, Suite
from airbundle.crypto.trust import TrustSet
from airbundle.errors import ForgedError, StrangerError, UnsignedError
from airbundle.format.dsse import Envelope, Signature
from airbundle.format.statement import STATEMENT_TYPE
from tests.crypto.people import both_suites, half_of, identity

PAYLOAD = b'{"airbundle":1}'


def trusting(*identities: PrivateIdentity) -> TrustSet:
    return TrustSet(NamedIdentity(str(i), identity.public) for i, identity in enumerate(identities))


def envelope(*signatures: Signature, payload: bytes = PAYLOAD) -> Envelope:
    return Envelope(STATEMENT_TYPE, payload, signatures)


def broken(signature: Signature) -> Signature:
    value = bytearray(signature.value)
    value[100] ^= 1
    return Signature(signature.key_id, bytes(value))


def test_pae_is_that_of_dsse() -> None:
    # The example of the DSSE protocol document.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == "DSSEv1 2 é 0 ".encode()
    assert pae("%d", b"%s%%") == b"DSSEv1 2 %d 4 %s%%"


@settings(max_examples=20)
@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_round_trip(payload: bytes, kind: str) -> None:
    for suite, size in ((STANDARD, 3373), (CNSA2, 4627)):
        signer = PrivateIdentity(suite, bytes(suite.seeds_size))
        signature = sign(signer, kind, payload)
        assert signature.key_id == signer.public.key_id
        assert len(signature.value) == size == suite.signature_size
        check(signer.public, signature, kind, payload)


def test_both_halves_sign_what_the_spec_says(alice: PrivateIdentity) -> None:
    signature = sign(alice, STATEMENT_TYPE, PAYLOAD)
    message = b"airbundle/sig/v1" + b"\x01" + alice.public.key_id
    message += b"DSSEv1 43 application/vnd.airbundle.statement.v1+json 15 " + PAYLOAD
    Ed25519PublicKey.from_public_bytes(half_of(alice.public, "ed25519")).verify(signature.value[:64], message)
    mldsa = MLDSA65PublicKey.from_public_bytes(half_of(alice.public, "mldsa"))
    mldsa.verify(signature.value[64:], message, b"airbundle/sig/v1")


def test_cnsa2_signs_what_the_spec_says() -> None:
    alice = identity(1, CNSA2)
    signature = sign(alice, STATEMENT_TYPE, PAYLOAD)
    assert len(signature.value) == 4627
    message = b"airbundle/sig/v1" + b"\x02" + alice.public.key_id
    message += b"DSSEv1 43 application/vnd.airbundle.statement.v1+json 15 " + PAYLOAD
    mldsa = MLDSA87PublicKey.from_public_bytes(half_of(alice.public, "mldsa"))
    mldsa.verify(signature.value, message, b"airbundle/sig/v1")


def refused(
    identity: PrivateIdentity, signature: Signature, kind: str = STATEMENT_TYPE, payload: bytes = PAYLOAD
) -> None:
    with pytest.raises(ForgedError) as caught:
        check(identity.public, signature, kind, payload)
    assert caught.value.rule == "T-2"


@both_suites
def test_type_payload_and_key_are_bound(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    signature = sign(alice, STATEMENT_TYPE, PAYLOAD)
    refused(alice, signature, payload=PAYLOAD + b" ")
    refused(alice, signature, kind="application/vnd.airbundle.receipt.v1+json")
    refused(bob, signature)
    refused(bob, Signature(bob.public.key_id, signature.value))
    refused(alice, Signature(bob.public.key_id, signature.value))


@both_suites
def test_a_flip_anywhere_does_not_hold(suite: Suite, alice: PrivateIdentity) -> None:
    signature = sign(alice, STATEMENT_TYPE, PAYLOAD)
    for at in [*range(0, 70, 3), *range(70, suite.signature_size, 53), suite.signature_size - 1]:
        value = bytearray(signature.value)
        value[at] ^= 1
        refused(alice, Signature(signature.key_id, bytes(value)))


def test_a_half_alone_is_nothing(alice: PrivateIdentity) -> None:
    good, other = sign(alice, STATEMENT_TYPE, PAYLOAD), sign(alice, STATEMENT_TYPE, b"other")
    key_id = alice.public.key_id
    for value in [
        good.value[:64] + other.value[64:],
        other.value[:64] + good.value[64:],
        good.value[:64] + bytes(3309),
        bytes(64) + good.value[64:],
        good.value[:64],
        good.value[64:],
        good.value[64:] + good.value[:64],
        good.value + b"\0",
        b"",
    ]:
        refused(alice, Signature(key_id, value))


def test_halves_of_two_keys_do_not_make_a_third(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    """Alice's and Bob's signatures over the same payload, put together for a key of both their halves."""
    seeds = alice.secret_bytes()[:32] + bob.secret_bytes()[32:]
    chimera = PrivateIdentity(STANDARD, seeds)
    a, b = sign(alice, STATEMENT_TYPE, PAYLOAD), sign(bob, STATEMENT_TYPE, PAYLOAD)
    refused(chimera, Signature(chimera.public.key_id, a.value[:64] + b.value[64:]))


@both_suites
def test_the_suite_is_bound(suite: Suite, alice: PrivateIdentity) -> None:
    signature = sign(alice, STATEMENT_TYPE, PAYLOAD)
    other = PrivateIdentity(dataclasses.replace(suite, number=9), alice.secret_bytes())
    refused(other, Signature(other.public.key_id, signature.value))


@both_suites
def test_without_the_context_it_does_not_hold(suite: Suite, alice: PrivateIdentity) -> None:
    """The right message, and a signature as another program would make it, without the context string of FIPS 204."""
    kind, private = STATEMENT_TYPE.encode(), MLDSA87PrivateKey if suite is CNSA2 else MLDSA65PrivateKey
    seed = alice.secret_bytes()[:32] if suite is CNSA2 else alice.secret_bytes()[32:64]
    message = b"airbundle/sig/v1" + bytes([suite.number]) + alice.public.key_id
    message += b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(PAYLOAD), PAYLOAD)
    good = sign(alice, STATEMENT_TYPE, PAYLOAD)
    front = good.value[:-suite.signers[-1].signature_size]  # the Ed25519 half, which holds
    for context in (b"", b"airbundle/sig/v2", b"airbundle/sig/v1\0"):
        bad = private.from_seed_bytes(seed).sign(message, context)
        refused(alice, Signature(alice.public.key_id, front + bad))
    right = private.from_seed_bytes(seed).sign(message, b"airbundle/sig/v1")
    check(alice.public, Signature(alice.public.key_id, front + right), STATEMENT_TYPE, PAYLOAD)


def test_a_signature_of_one_suite_claimed_for_a_key_of_the_other(alice: PrivateIdentity) -> None:
    other = identity(1, CNSA2)
    for owner, claimed in ((other, alice), (alice, other)):
        value = sign(owner, STATEMENT_TYPE, PAYLOAD).value
        claim = Signature(claimed.public.key_id, value)
        refused(claimed, claim)
        judgement = judge([envelope(claim)], trusting(alice, other), claimed.public.key_id, claimed.suite)
        assert (judgement.valid, judgement.failing) == ((), (claimed.public.key_id,))
        size = claimed.suite.signature_size  # cut or filled up to the right length it is no better
        refused(claimed, Signature(claimed.public.key_id, value[:size].ljust(size, b"\0")))
        refused(claimed, Signature(claimed.public.key_id, value[-size:].rjust(size, b"\0")))


def test_a_signature_of_another_suite_counts_for_nothing(alice: PrivateIdentity) -> None:
    """It is trusted and holds, and is reported; beside it the packer's own is what counts (K-11)."""
    other = identity(2, CNSA2)
    a, b = sign(alice, STATEMENT_TYPE, PAYLOAD), sign(other, STATEMENT_TYPE, PAYLOAD)
    check(other.public, b, STATEMENT_TYPE, PAYLOAD)
    judgement = judge([envelope(a, b)], trusting(alice, other), alice.public.key_id, STANDARD)
    assert judgement.require_packer() == alice.public
    assert (judgement.valid, judgement.foreign) == ((alice.public,), (other.public.key_id,))
    assert (judgement.failing, judgement.unknown) == ((), ())


def test_a_packer_of_another_suite_than_the_document_is_refused() -> None:
    packer = identity(2, CNSA2)
    signed = envelope(sign(packer, STATEMENT_TYPE, PAYLOAD))
    with pytest.raises(ForgedError) as caught:
        judge([signed], trusting(packer), packer.public.key_id, STANDARD).require_packer()
    assert caught.value.rule == "K-11"


@both_suites
def test_the_packer_signed(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    copy = envelope(sign(alice, STATEMENT_TYPE, PAYLOAD), sign(bob, STATEMENT_TYPE, PAYLOAD))
    judgement = judge([copy], trusting(alice, bob), alice.public.key_id, alice.suite)
    assert judgement.require_packer() == alice.public
    assert judgement.valid == (alice.public, bob.public)
    assert (judgement.failing, judgement.unknown) == ((), ())


@both_suites
def test_copies_give_the_union(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    a, b = sign(alice, STATEMENT_TYPE, PAYLOAD), sign(bob, STATEMENT_TYPE, PAYLOAD)
    copies = [envelope(a), envelope(broken(a), b), envelope(a)]
    judgement = judge(copies, trusting(alice, bob), alice.public.key_id, alice.suite)
    assert judgement.valid == (alice.public, bob.public)
    assert judgement.failing == ()  # one of alice's signatures holds
    turned = judge([envelope(broken(a)), envelope(a)], trusting(alice), alice.public.key_id, alice.suite)
    assert (turned.valid, turned.failing) == ((alice.public,), ())


@both_suites
def test_bad_and_unknown_signatures_count_for_nothing(
    alice: PrivateIdentity, bob: PrivateIdentity, carol: PrivateIdentity
) -> None:
    a, b, c = (sign(i, STATEMENT_TYPE, PAYLOAD) for i in (alice, bob, carol))
    judgement = judge([envelope(a, broken(b), c)], trusting(alice, bob), alice.public.key_id, alice.suite)
    assert judgement.require_packer() == alice.public
    assert judgement.valid == (alice.public,)
    assert judgement.failing == (bob.public.key_id,)
    assert judgement.unknown == (carol.public.key_id,)


def test_three_ways_of_not_believing(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    a, b = sign(alice, STATEMENT_TYPE, PAYLOAD), sign(bob, STATEMENT_TYPE, PAYLOAD)
    packer = alice.public.key_id
    with pytest.raises(UnsignedError):
        judge([envelope(b)], trusting(alice, bob), packer, STANDARD).require_packer()
    with pytest.raises(UnsignedError):
        judge([envelope(b)], trusting(bob), packer, STANDARD).require_packer()
    with pytest.raises(ForgedError) as forged:
        judge([envelope(broken(a), b)], trusting(alice, bob), packer, STANDARD).require_packer()
    with pytest.raises(StrangerError) as stranger:
        judge([envelope(a, b)], trusting(bob), packer, STANDARD).require_packer()
    assert alice.public.hex in stranger.value.what
    assert alice.public.words in stranger.value.hint
    assert {error.value.exit_status for error in (forged, stranger)} == {5}
    assert {error.value.rule for error in (forged, stranger)} == {"T-3"}


def test_a_trusted_signer_cannot_stand_in_for_the_packer(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    renamed = Signature(alice.public.key_id, sign(bob, STATEMENT_TYPE, PAYLOAD).value)
    with pytest.raises(ForgedError):
        judge([envelope(renamed)], trusting(alice, bob), alice.public.key_id, alice.suite).require_packer()


@both_suites
def test_a_signature_of_one_document_kind_is_none_of_another(alice: PrivateIdentity) -> None:
    receipt = sign(alice, "application/vnd.airbundle.receipt.v1+json", PAYLOAD)
    with pytest.raises(ForgedError):
        judge([envelope(receipt)], trusting(alice), alice.public.key_id, alice.suite).require_packer()


def test_copies_are_grouped_by_payload_and_judged_apart(alice: PrivateIdentity) -> None:
    a, other = sign(alice, STATEMENT_TYPE, PAYLOAD), sign(alice, STATEMENT_TYPE, b"other")
    copies = [envelope(a), envelope(other, payload=b"other"), envelope(a)]
    assert group_copies(copies) == ((copies[0], copies[2]), (copies[1],))
    assert group_copies([]) == ()
    for wrong in (copies, []):
        with pytest.raises(ValueError, match="one payload"):
            judge(wrong, trusting(alice), alice.public.key_id, alice.suite)
