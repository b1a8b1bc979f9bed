"""The identities of the test vectors. Everybody knows their keys: they are made of their names."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import TYPE_CHECKING

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.suites import suite_by_name, tag
from airbundle.crypto.trust import TrustSet
from tests.transfer.workshop import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ROLES = ("packer", "reader", "second", "stranger", "officer")
NAMES = tuple(f"{role}-{suite}" for suite in ("standard", "cnsa2") for role in ROLES)


@functools.cache
def person(name: str) -> PrivateIdentity:
    """`ROLE-SUITE`; the seeds are SHAKE-256 of a text that says what they are."""
    suite = suite_by_name(name.partition("-")[2])
    return PrivateIdentity(suite, hashlib.shake_256(f"airbundle test key {name}".encode()).digest(suite.seeds_size))


def keys_of(suite: str) -> Keys:
    return Keys(*(person(f"{role}-{suite}") for role in ROLES[:4]))


def trust_of(names: Iterable[str]) -> TrustSet:
    return TrustSet([NamedIdentity(name, person(name).public) for name in names])


def write_people(folder: Path) -> None:
    """NAME.key and NAME.pub of everybody, and the bad ones."""
    for name in NAMES:
        (folder / f"{name}.key").write_bytes(write_private(name, person(name), passphrase=None))
        (folder / f"{name}.pub").write_bytes(write_public(name, person(name).public))
    for name, raw in bad_files().items():
        (folder / name).write_bytes(raw)


def bad_files() -> dict[str, bytes]:
    """Key files that a reader refuses (K-3, K-4, K-17)."""
    public, other = person("packer-standard").public, person("stranger-standard").public
    good = write_public("packer-standard", public)

    def forged(keys: tuple[bytes, ...], *, wrong_id: bool = False) -> bytes:
        raw = good
        for old, new in zip(public.keys, keys, strict=True):
            raw = raw.replace(base64.b64encode(old), base64.b64encode(new))
        key_id = public.suite.hash(tag("key"), bytes([public.suite.number]), *keys)
        return raw.replace(public.key_id.hex().encode(), (bytes(32) if wrong_id else key_id).hex().encode())

    ed25519, mldsa, mlkem, _ = public.keys
    mine, theirs = (person(name) for name in ("reader-standard", "second-standard"))
    raw = write_private("reader-standard", mine, passphrase=None)
    at = raw.index(b'"check":"') + 9
    exchanged = raw.replace(base64.b64encode(mine.secret_bytes()), base64.b64encode(theirs.secret_bytes()))
    check = mine.suite.hash(tag("keyfile"), exchanged[:at] + b'"}').hex().encode()
    return {
        "low-order.pub": forged((ed25519, mldsa, mlkem, bytes(32))),
        "not-canonical.pub": forged((ed25519, mldsa, mlkem, (2**255 - 10).to_bytes(32, "little"))),
        "other-id.pub": forged(public.keys, wrong_id=True),
        "shares-half.pub": forged((other.keys[0], mldsa, other.keys[2], other.keys[3])),
        "line-feed.pub": good + b"\n",
        "bad-check.key": raw[:at] + (b"0" if raw[at:at + 1] != b"0" else b"1") + raw[at + 1:],
        "bad-seeds.key": exchanged[:at] + check + b'"}',
    }
