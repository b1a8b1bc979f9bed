import dataclasses

import pytest

from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.suites import CNSA2, STANDARD, SUITES
from airbundle.crypto.trust import TrustSet
from airbundle.errors import UsageError
from tests.crypto.people import fields, half_of, identity, with_halves


def test_find_by_key_id(alice: PrivateIdentity, bob: PrivateIdentity, carol: PrivateIdentity) -> None:
    trust = TrustSet([NamedIdentity("alice", alice.public), NamedIdentity("bob", bob.public)])
    assert trust.find(alice.public.key_id) == alice.public
    assert trust.name(bob.public.key_id) == "bob"
    assert trust.find(carol.public.key_id) is None
    assert trust.name(carol.public.key_id) is None
    assert trust.find(alice.public.fingerprint) is None
    assert [member.name for member in trust] == ["alice", "bob"]
    assert len(trust) == 2


def test_the_same_key_twice_is_one_key(alice: PrivateIdentity) -> None:
    trust = TrustSet([NamedIdentity("alice", alice.public), NamedIdentity("mallory", alice.public)])
    assert len(trust) == 1
    assert trust.name(alice.public.key_id) == "alice"


@pytest.mark.parametrize(
    ("suite", "half"), [(suite, name) for suite in SUITES for name in fields(suite)], indirect=["suite"]
)
def test_two_keys_that_share_a_half_are_refused(alice: PrivateIdentity, bob: PrivateIdentity, half: str) -> None:
    chimera = with_halves(bob.public, **{half: half_of(alice.public, half)})
    with pytest.raises(UsageError) as caught:
        TrustSet([NamedIdentity("alice", alice.public), NamedIdentity("chi\x1bmera", chimera)])
    assert caught.value.rule == "K-4"
    assert "alice" in caught.value.what
    assert "\x1b" not in caught.value.what


def test_a_half_is_shared_whatever_suite_it_is_in(alice: PrivateIdentity, bob: PrivateIdentity) -> None:
    """A suite of the future that takes over a half of today's is seen too: only the bytes count."""
    other = dataclasses.replace(STANDARD, number=9, signers=STANDARD.signers[1:])
    keys = (half_of(alice.public, "mldsa"), half_of(bob.public, "mlkem"), half_of(bob.public, "x25519"))
    with pytest.raises(UsageError, match="ML-DSA-65"):
        TrustSet([NamedIdentity("alice", alice.public), NamedIdentity("chimera", PublicIdentity(other, keys))])


def test_keys_of_both_suites_in_one_set(alice: PrivateIdentity) -> None:
    other = identity(1, CNSA2).public
    trust = TrustSet([NamedIdentity("alice", alice.public), NamedIdentity("alice-cnsa2", other)])
    assert trust.find(other.key_id) == other
    assert trust.find(alice.public.key_id) == alice.public


def test_an_empty_set_trusts_nobody(alice: PrivateIdentity) -> None:
    assert TrustSet().find(alice.public.key_id) is None
