"""The public keys that a reader trusts, as one checked value.

Whoever is in here was compared by a person (docs/first-trust.md). Names come from the files and prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.errors import UsageError
from airbundle.format.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airbundle.crypto.identities import PublicIdentity
    from airbundle.crypto.keyfiles import NamedIdentity


class TrustSet:
    """Trusted identities by key id. The same key given twice is one key, under its first name."""

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[NamedIdentity] = ()) -> None:
        """Raises UsageError for two keys that share a public half (K-4)."""
        self._members: dict[bytes, NamedIdentity] = {}
        halves: dict[bytes, NamedIdentity] = {}
        for member in members:
            if member.public.key_id in self._members:
                continue
            for half, key in zip(member.public.suite.halves, member.public.keys, strict=True):
                other = halves.setdefault(key, member)
                if other is not member:  # K-4
                    raise UsageError(
                        f"the keys '{shown(other.name)}' and '{shown(member.name)}' share their {half.title} half",
                        hint="an honest key shares nothing: remove the one that you did not compare yourself",
                        rule="K-4",
                    )
            self._members[member.public.key_id] = member

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[NamedIdentity]:
        """The members in the order given."""
        return iter(self._members.values())

    def find(self, key_id: bytes) -> PublicIdentity | None:
        """The trusted identity with this key id."""
        member = self._members.get(key_id)
        return member.public if member else None

    def name(self, key_id: bytes) -> str | None:
        """The name of the trusted identity with this key id."""
        member = self._members.get(key_id)
        return member.name if member else None
