"""The audit log: one JSON object a line, each with the hash of the line before, so that no line can be changed alone.

The ledger keeps number and hash of the last line: a log that was cut or whose last line was changed is noticed there,
and a ledger that was put back from a backup is noticed here (`ledger.py`).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airbundle.station.state import AuditFiles

BEGINNING: Final = ""
"""The hash before the first line."""


class AuditLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. `time` in seconds since 1970 by the station's clock, `previous` is SHA-256 of the line before."""

    number: int
    time: int
    event: str
    previous: str
    bundle: str = ""
    code: str = ""
    detail: str = ""
    facts: dict[str, str | int | None] = {}


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Number and hash of a line; 0 and nothing before the first."""

    number: int = 0
    hash: str = BEGINNING


@dataclass(frozen=True, slots=True)
class AuditFault:
    """What is wrong with the log, and at which line of which file."""

    file: str
    line: int
    what: str


class AuditLog:
    """The log of a station. `forward` gets each line too (syslog)."""

    def __init__(self, files: AuditFiles, *, rotate: int, forward: Callable[[str], None] | None = None) -> None:
        self._files, self._rotate, self._forward = files, rotate, forward

    def head(self) -> AuditHead:
        """The last line. Raises DamagedError if it is none."""
        raw = self._files.tail()
        return AuditHead(parse_line(raw).number, _hash(raw)) if raw else AuditHead()

    def append(self, event: str, *, bundle: str = "", code: str = "", detail: str = "",
               facts: dict[str, str | int | None] | None = None) -> AuditHead:
        """Add a line; durable on return. Call with `StationState.publishing` held."""
        before = self.head()
        line = AuditLine(before.number + 1, int(time.time()), event, before.hash, bundle, code,
                         escaped(detail[:4096]), facts or {})
        raw = msgspec.json.encode(line) + b"\n"
        self._files.append(raw, rotate=self._rotate)
        if self._forward is not None:
            self._forward(raw.decode().rstrip())
        return AuditHead(line.number, _hash(raw))

    def lines(self) -> Iterator[tuple[str, AuditLine, str]]:
        """File, line and hash of every line that can be read."""
        for name, raw in self._files.lines():
            if raw.endswith(b"\n"):
                yield name, parse_line(raw), _hash(raw)

    def since(self, head: AuditHead) -> list[tuple[str, AuditLine]]:
        """The lines behind `head`, each with its hash.

        Raises DamagedError unless each follows from the one before, the first from `head`.
        """
        behind, last = [], head
        for name, line, found in self.lines():
            if line.number > head.number:
                if (line.number, line.previous) != (last.number + 1, last.hash):
                    raise DamagedError(
                        f"line {line.number} of the audit log does not follow from line {last.number}", where=name,
                        hint="airbundle audit verify; older files that were moved elsewhere are needed here")
                behind.append((found, line))
                last = AuditHead(line.number, found)
        return behind

    def holds(self, head: AuditHead) -> bool:
        """Whether the log has this line."""
        return head.number == 0 or any(
            line.number == head.number and found == head.hash for _, line, found in self.lines())

    def faults(self) -> Iterator[AuditFault]:
        """What an honest log does not have: lines edited, deleted, inserted or in another order."""
        yield from _faults((name, raw) for name, raw in self._files.lines() if raw.endswith(b"\n"))


def _faults(lines: Iterable[tuple[str, bytes]]) -> Iterator[AuditFault]:
    number, previous = 0, BEGINNING
    for name, raw in lines:
        try:
            line = parse_line(raw)
        except DamagedError:
            yield AuditFault(name, number + 1, "this line was edited: it is none any more")
            number, previous = number + 1, ""
            continue
        if line.number > number + 1:
            gone = f"lines {number + 1} to {line.number - 1} were" if line.number > number + 2 else (
                f"line {number + 1} was")
            yield AuditFault(name, number + 1, f"{gone} deleted or moved")
        elif line.number <= number:
            yield AuditFault(name, line.number, "this line stands behind a later one")
        elif previous and line.previous != previous:
            yield AuditFault(name, max(number, 1), "this line was edited, or the next one was"
                             if number else "this is not how the log began")
        number, previous = line.number, _hash(raw)


def parse_line(raw: bytes) -> AuditLine:
    """A line of the log. Raises DamagedError."""
    try:
        return msgspec.json.decode(raw, type=AuditLine)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise DamagedError(f"a line of the audit log cannot be read: {error}",
                           hint="airbundle audit verify says where") from None


def escaped(text: str) -> str:
    """`text` with the bytes of a name on a medium that are no Unicode text written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw.rstrip(b"\n")).hexdigest()
