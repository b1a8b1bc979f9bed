"""Identities from the files that hold them; errors name the file."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from airbundle.crypto.keyfiles import NamedIdentity, PrivateFile, parse_private, parse_public
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, UsageError
from airbundle.media import keystore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.crypto.identities import PrivateIdentity


def load_private(path: str, passphrase: str | None = None) -> PrivateIdentity:
    """The identity in a `.key` file. Raises UsageError, FormatError, NoKeyError (passphrase missing or wrong)."""
    file = read_private(path)
    with _named(path):
        return file.unlock(passphrase)


def read_private(path: str) -> PrivateFile:
    """A `.key` file, not unlocked yet; `is_protected` says whether it wants a passphrase."""
    with _named(path):
        raw = keystore.read_key_file(path)
        if raw.startswith(b'{"kind":"airbundle public key"'):
            raise UsageError("this is a public key", hint="give the private one, NAME.key")
        return parse_private(raw)


def load_public(path: str) -> NamedIdentity:
    """The identity in a `.pub` file. Raises UsageError, FormatError."""
    with _named(path):
        raw = keystore.read_key_file(path)
        if raw.startswith(b'{"kind":"airbundle private key"'):
            raise UsageError("this is a private key", hint="give the public one, NAME.pub; keep this one to yourself")
        return parse_public(raw)


def load_trust(*paths: str) -> TrustSet:
    """The keys in `.pub` files and folders of them, else in the trust store. Raises UsageError, FormatError."""
    files: list[str] = []
    for path in paths or (keystore.trust_folder(),):
        files += keystore.public_files(path) if os.path.isdir(path) or not paths else [path]
    return TrustSet(load_public(path) for path in files)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors of a key file name the file."""
    try:
        yield
    except AirbundleError as error:
        error.where = error.where or path
        if error.exit_status == 4:  # a key file is no medium: it is the configuration that is off
            raise UsageError(error.what, where=error.where, hint=error.hint or "use a copy of the key file",
                             rule=error.rule) from error
        raise
