"""What the watcher asks of the process that reads media, and what that answers: a line of JSON each.

The reading process may be in a stranger's hands: its lines are bounded and strict, and what they say is shown, never
used as a path, a command or a number of bytes. Folders go as hexadecimal digits, since names on a medium need not be
Unicode.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec

LINE_MAX: Final = 128 << 10
"""Bytes of a line."""
NODE_MAX: Final = 256
"""Characters of the name of a device, and of other short texts."""
_Short = Annotated[str, msgspec.Meta(max_length=NODE_MAX)]
_Text = Annotated[str, msgspec.Meta(max_length=8192)]
_Hex = Annotated[str, msgspec.Meta(max_length=16384, pattern="^([0-9a-f]{2})*$")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="is"):
    ticket: int


class LookRequest(_Line, frozen=True, tag="look"):
    """Say which volumes are there in the folder `point`."""

    point: _Hex


class ImportRequest(_Line, frozen=True, tag="import"):
    """Import this bundle from these folders, which lie in these places: the drives."""

    bundle: _Short
    places: Annotated[tuple[_Hex, ...], msgspec.Meta(max_length=1024)]
    folders: Annotated[tuple[_Hex, ...], msgspec.Meta(max_length=4096)]


class BarredRequest(_Line, frozen=True, tag="barred"):
    """Leave a receipt of a drive that was not mounted."""

    node: _Short
    serial: _Short
    what: _Text


class HeldAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The folders of one bundle."""

    bundle: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{32})?$")]
    folders: Annotated[tuple[_Hex, ...], msgspec.Meta(min_length=1, max_length=4096)]


class FoundAnswer(_Line, frozen=True, tag="found"):
    """What lies there."""

    held: Annotated[tuple[HeldAnswer, ...], msgspec.Meta(max_length=4096)]


class ProgressAnswer(_Line, frozen=True, tag="progress"):
    """How far an import is: state of the import, phase, bytes."""

    state: _Short
    phase: _Short
    done: _Count
    total: _Count


class EndedAnswer(_Line, frozen=True, tag="ended"):
    """How what was asked ended."""

    exit_status: Annotated[int, msgspec.Meta(ge=0, le=255)]
    code: _Short = ""
    what: _Text = ""
    hint: _Text = ""
    receipt: _Text = ""
    target: _Text = ""
    label: _Short = ""


Request = LookRequest | ImportRequest | BarredRequest
Answer = FoundAnswer | ProgressAnswer | EndedAnswer
REQUESTS: Final = msgspec.json.Decoder(Request)
ANSWERS: Final = msgspec.json.Decoder(Answer)


def to_line(message: Request | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def to_hex(path: str) -> str:
    """A path as it goes."""
    return os.fsencode(path).hex()


def from_hex(digits: str) -> str:
    """A path as it came."""
    return os.fsdecode(bytes.fromhex(digits))
