"""What people type: sizes with binary suffixes, times, `key=value`, passphrases by file or prompt."""

from __future__ import annotations

import getpass
import os
import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airbundle import api
from airbundle.errors import FormatError, NoKeyError, UsageError
from airbundle.format import limits
from airbundle.format.names import SafePath, check_public_text
from airbundle.format.quantities import DAY, parse_size
from airbundle.media import keystore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.crypto.identities import PrivateIdentity

_NAME_HINT: Final = "a name is a part of a file name; give the folder with -o"


def check_name(name: str) -> None:
    """A name that can stand in the name of a file, and in the file. Raises UsageError."""
    try:
        if "/" in SafePath.parse(name) or name.startswith("."):
            raise UsageError(f"the name '{name}' has a '/', or begins with a dot", hint=_NAME_HINT)
        check_public_text(name)
    except FormatError as error:
        raise UsageError(f"the name cannot be used: {error.what}", hint=_NAME_HINT, rule=error.rule) from None


def looks_like_size(text: str) -> bool:
    """Whether `-o` got a size instead of a folder (`plan`)."""
    return text[:1].isdigit() and "/" not in text and not os.path.exists(text)


def parse_segment_size(text: str) -> int:
    """A segment size from 64 KiB to 256 MiB; 0 for no text. Raises UsageError."""
    if not text:
        return 0
    size = parse_size(text)
    if not 64 * limits.KIB <= size <= limits.SLICE_MAX:
        raise UsageError(f"a segment of {text}", hint="take 64K to 256M", rule="G-5")
    return size


def parse_after(text: str | None) -> int | None:
    """`+90d` in seconds; None for anything else."""
    match = re.fullmatch(r"\+([0-9]{1,5})d", text or "")
    return int(match[1]) * DAY if match else None


def parse_when(text: str | None, now: float | None = None) -> int | None:
    """`2027-01-31` or `2027-01-31T12:00:00Z`: seconds since 1970. Raises UsageError."""
    if text is None:
        return None
    now = time.time() if now is None else now
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a time", hint="write it like 2027-01-31 or +90d") from None
    seconds = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    if seconds <= now:
        raise UsageError(f"{text} is in the past", hint="write it like 2027-01-31 or +90d")
    return seconds


def parse_meta(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE` pairs in order of keys. Raises UsageError."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or key in found:
            raise UsageError(f"'{pair}' is not KEY=VALUE, or its key stands twice")
        found[key] = value
    return tuple(sorted(found.items()))


def read_passphrase(path: str) -> str:
    """The first line of a passphrase file (`-` is standard input)."""
    raw = sys.stdin.buffer.readline() if path == "-" else keystore.read_key_file(path).split(b"\n", 1)[0]
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError("the passphrase is not UTF-8 text", where=path) from None
    if not text:
        raise UsageError("the passphrase is empty", where=path)
    return text


def ask_new_passphrase(name: str) -> str:
    """Asked for twice on a terminal. Raises UsageError where there is none."""
    if not sys.stdin.isatty():
        raise UsageError("no terminal to ask for a passphrase on",
                         hint="give --passphrase-file FILE, or --no-passphrase if the place itself is safe")
    first = getpass.getpass(f"New passphrase for the key '{name}': ")
    if not first or getpass.getpass("The same again: ") != first:
        raise UsageError("the passphrase is empty, or the two differ", hint="run the command again")
    return first


def load_identity(path: str, passphrase_file: str | None = None) -> PrivateIdentity:
    """A private key; asks for its passphrase on a terminal if it has one and no file was given."""
    file = api.read_private(path)
    if not file.is_protected:
        return file.unlock()
    if passphrase_file is not None:
        return file.unlock(read_passphrase(passphrase_file))
    if not sys.stdin.isatty():
        raise NoKeyError("the key is protected by a passphrase", where=path, hint="give --key-passphrase-file FILE")
    return file.unlock(getpass.getpass(f"Passphrase for {path}: "))
