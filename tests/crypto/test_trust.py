import dataclasses

import pytest

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.errors import UsageError


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


@pytest.mark.parametrize("half", ["ed25519", "mldsa", "mlkem", "x25519"])
def test_two_keys_that_share_a_half_are_refused(alice: PrivateIdentity, bob: PrivateIdentity, half: str) -> None:
    chimera = dataclasses.replace(bob.public, **{half: getattr(alice.public, half)})
    with pytest.raises(UsageError) as caught:
        TrustSet([NamedIdentity("alice", alice.public), NamedIdentity("chi\x1bmera", chimera)])
    assert caught.value.rule == "K-4"
    assert "alice" in caught.value.what
    assert "\x1b" not in caught.value.what


def test_an_empty_set_trusts_nobody(alice: PrivateIdentity) -> None:
    assert TrustSet().find(alice.public.key_id) is None
