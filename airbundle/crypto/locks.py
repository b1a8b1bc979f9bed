"""How a new bundle is locked: to recipients' keys, under a passphrase, or under fresh words that are shown at the end.

A `Lock` writes the preamble and says what a plan has to know of it. `Keyring`, its opposite, is in `envelope`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from airbundle.crypto.envelope import (
    BundleKey,
    Context,
    Keyring,
    open_preamble,
    parse_preamble,
    preamble_length,
    require_passphrase,
    require_recipient,
    write_passphrase_preamble,
    write_preamble,
)
from airbundle.crypto.passphrase import Passphrase, fresh_words
from airbundle.errors import NoKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.identities import PublicIdentity
    from airbundle.crypto.suites import Suite
    from airbundle.format.cost import PassphraseCost


class Lock(Protocol):
    """What pack needs to know of it."""

    @property
    def facts(self) -> object:
        """What makes it the same lock in another run of the same command, for JSON. Says nothing of a passphrase."""

    @property
    def words(self) -> str:
        """A passphrase that nobody has seen yet, or nothing."""

    def require_suite(self, suite: Suite) -> None:
        """Returns if a bundle of `suite` can have this lock. Raises UsageError (K-2, K-12, K-16)."""

    def preamble_size(self, suite: Suite) -> int:
        """Bytes of the preamble."""

    def write(self, context: Context, bundle_key: BundleKey, *, entropy: Callable[[int], bytes]) -> bytes:
        """The preamble. Raises UsageError as `require_suite`, and K-6."""

    def fits(self, preamble: bytes, bundle_key: BundleKey) -> bool:
        """Whether `preamble`, of an earlier run with the same facts, has this lock; `bundle_key` is the one in it."""

    def show(self, words: str) -> None:
        """Tell the person the words of the finished bundle, which may be those of an earlier run."""


@dataclass(frozen=True, slots=True)
class RecipientLock:
    """To 1 to 64 keys."""

    recipients: tuple[PublicIdentity, ...]
    words: str = field(default="", init=False)

    @property
    def facts(self) -> object:
        """The key ids."""
        return [recipient.key_id.hex() for recipient in self.recipients]

    def require_suite(self, suite: Suite) -> None:
        """K-2."""
        for recipient in self.recipients:
            require_recipient(suite, recipient)

    def preamble_size(self, suite: Suite) -> int:
        """By the number of recipients."""
        return preamble_length(suite, max(1, len(self.recipients)))

    def write(self, context: Context, bundle_key: BundleKey, *, entropy: Callable[[int], bytes]) -> bytes:
        """HPKE draws its randomness itself."""
        del entropy
        return write_preamble(context, bundle_key, self.recipients)

    def fits(self, preamble: bytes, bundle_key: BundleKey) -> bool:
        """The facts say all."""
        del preamble, bundle_key
        return True

    def show(self, words: str) -> None:
        """Nothing to show."""


@dataclass(frozen=True, slots=True)
class PassphraseLock:
    """Under a passphrase that the person knows."""

    passphrase: Passphrase
    cost: PassphraseCost | None = None
    words: str = field(default="", init=False)

    @property
    def facts(self) -> object:
        """Anything of the passphrase would be something to try guesses on."""
        return "passphrase"

    def require_suite(self, suite: Suite) -> None:
        """K-12, K-16."""
        require_passphrase(suite, self.passphrase)

    def preamble_size(self, suite: Suite) -> int:
        """One envelope."""
        return preamble_length(suite, 0)

    def write(self, context: Context, bundle_key: BundleKey, *, entropy: Callable[[int], bytes]) -> bytes:
        """Takes the time and memory of Argon2id."""
        return write_passphrase_preamble(context, bundle_key, self.passphrase, cost=self.cost, entropy=entropy)

    def fits(self, preamble: bytes, bundle_key: BundleKey) -> bool:
        """Tried: the person may have given another passphrase this time."""
        try:
            found = open_preamble(parse_preamble(preamble), Keyring(passphrase=self.passphrase))
        except NoKeyError:
            return False
        return hmac.compare_digest(found.secret_bytes(), bundle_key.secret_bytes())

    def show(self, words: str) -> None:
        """The person knows it."""


@dataclass(frozen=True, slots=True)
class WordsLock:
    """Under fresh words, which `tell` hears when the bundle is finished. `repr` does not show them."""

    tell: Callable[[str], None] = field(repr=False)
    cost: PassphraseCost | None = None
    words: str = field(default_factory=fresh_words, repr=False)

    @property
    def facts(self) -> object:
        """The words of a later run are not those of the first, which are in the journal."""
        return "fresh words"

    def require_suite(self, suite: Suite) -> None:
        """K-12."""
        require_passphrase(suite, Passphrase(self.words))

    def preamble_size(self, suite: Suite) -> int:
        """One envelope."""
        return preamble_length(suite, 0)

    def write(self, context: Context, bundle_key: BundleKey, *, entropy: Callable[[int], bytes]) -> bytes:
        """Takes the time and memory of Argon2id."""
        passphrase = Passphrase(self.words)
        return write_passphrase_preamble(context, bundle_key, passphrase, cost=self.cost, entropy=entropy)

    def fits(self, preamble: bytes, bundle_key: BundleKey) -> bool:
        """Under whichever words: the journal has them."""
        del preamble, bundle_key
        return True

    def show(self, words: str) -> None:
        """Only now, for a bundle that is not finished needs none."""
        self.tell(words)
