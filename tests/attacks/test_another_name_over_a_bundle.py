"""A trusted key that is not the packer's over the packer's ciphertext, before anyone who has no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from airbundle import api
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.signing import sign
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, ForgedError, StrangerError
from airbundle.format import encoding
from airbundle.format.dsse import Envelope, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from tests.transfer.forge import Lies, forge
from tests.transfer.workshop import Keys, Packed, digests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def renamed(small: Packed) -> Packed:
    """The stranger says in a statement of their own that the bundle is theirs."""
    other = small.keys.stranger
    payload = encoding.encode(msgspec.structs.replace(small.statement(), packer=other.public.key_id.hex()))
    document = write_envelope(Envelope(STATEMENT_TYPE, payload, (sign(other, STATEMENT_TYPE, payload),)))
    (small.volume / names.STATEMENT_NAME).write_bytes(document)
    (small.volume / names.RECORD_NAME).unlink()
    return small


def test_verify_and_repair_without_a_key(renamed: Packed) -> None:
    keys, before = renamed.keys, digests(renamed.volume)
    trust = TrustSet([NamedIdentity("packer", keys.packer.public), NamedIdentity("other", keys.stranger.public)])
    for verb in (api.verify, api.repair):
        with pytest.raises(ForgedError) as caught:
            verb([str(renamed.volume)], trust=trust)
        assert caught.value.rule == "K-2"
    assert digests(renamed.volume) == before
    with pytest.raises(StrangerError):
        renamed.verify()


@pytest.mark.parametrize(("kept", "status", "rule"), [(0, 5, "K-2"), (51, 5, "K-2"), (52, 4, "K-6"), (84, 4, "K-6")])
def test_a_preamble_that_is_none(keys: Keys, tmp_path: Path, kept: int, status: int, rule: str) -> None:
    """It is another bundle's until it has named this one."""
    bundle = forge(tmp_path / "drive", keys, Lies(preamble=lambda raw: raw[:kept] or b"x"))
    assert bundle.refused(status).rule == rule
    with pytest.raises(AirbundleError):
        bundle.repair()


def test_a_stranger_is_a_stranger_before_their_bundle_is_malformed(keys: Keys, tmp_path: Path) -> None:
    other = Keys(keys.stranger, keys.reader, keys.second, keys.packer)
    bundle = forge(tmp_path / "drive", other, Lies(table=lambda _: b"{"))
    with pytest.raises(StrangerError):
        api.verify([str(bundle.volume)], trust=keys.trust)
