"""The mounts that this process sees, from /proc/self/mountinfo (proc(5))."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

_TABLE = "/proc/self/mountinfo"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountRow:
    """One mount: its identity `ID PARENT MAJ:MIN`, where, file system, source, and its options.

    `options` are those of the mount; a file system has others beside them.
    """

    identity: str
    point: str
    kind: str
    source: str
    options: frozenset[str]


def mounts() -> list[MountRow]:
    """What is mounted here, in order. Raises OSError where it cannot be read.

    A point may hold any byte that ends a line elsewhere; the kernel escapes spaces, tabs, newlines and backslashes.
    """
    with open(_TABLE, encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        return [parse_mount(line) for line in table]


@functools.lru_cache(maxsize=256)
def parse_mount(line: str) -> MountRow:
    """One line of the table, which is read again and again, and seldom another one."""
    front, _, back = line.rstrip("\n").partition(" - ")
    fields, (kind, source) = front.split(" "), back.split(" ")[:2]
    return MountRow(" ".join(fields[:3]), _plain(fields[4]), kind, _plain(source), frozenset(fields[5].split(",")))


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
