"""What of an image is not there: stretches of bytes that no drive gave, and ddrescue's map file that lists them.

A map file is a stranger's text: it is parsed strictly, and whatever it does not call rescued counts as a hole.
"""

from __future__ import annotations

import bisect
import re
from typing import Final

from airbundle.errors import FormatError
from airbundle.format import limits

_LINE: Final = re.compile(r"(0x[0-9A-Fa-f]{1,16}|[0-9]{1,20})[ \t]+(0x[0-9A-Fa-f]{1,16}|[0-9]{1,20})[ \t]+([?*/+-])")
_STATUS: Final = re.compile(r"(?:0x[0-9A-Fa-f]{1,16}|[0-9]{1,20})[ \t]+[?*/FG+-](?:[ \t]+[0-9]{1,3})?")
_RESCUED: Final = "+"


class Holes:
    """Disjoint stretches of bytes `[start, end)`, in order. Those that touch become one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def total(self) -> int:
        """Bytes of all of them."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """`[start, end)` is a hole too."""
        if start >= end:
            return
        first = bisect.bisect_left(self._ends, start)
        last = bisect.bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The holes in `[start, end)`, cut to it."""
        first = bisect.bisect_right(self._ends, start)
        last = bisect.bisect_left(self._starts, end)
        return [(max(start, self._starts[at]), min(end, self._ends[at])) for at in range(first, last)]


def parse_mapfile(raw: bytes, size: int) -> Holes:
    """The holes that a map file says an image of `size` bytes has. Raises FormatError that names the line."""
    if len(raw) > limits.MAPFILE_MAX:
        raise FormatError(f"a map file of more than {limits.MAPFILE_MAX} bytes")
    lines = [(number, text) for number, line in enumerate(raw.decode("ascii", "replace").splitlines(), 1)
             if (text := line.partition("#")[0].strip())]
    if not lines or not _STATUS.fullmatch(lines[0][1]):  # where ddrescue stood when it stopped
        raise FormatError("it does not begin with the status line of a map file of ddrescue")
    holes, end = Holes(), -1
    for number, text in lines[1:]:
        found = _LINE.fullmatch(text)
        if found is None:
            raise FormatError(f"line {number} is not a line of a map file of ddrescue")
        start, length = _number(found[1], number), _number(found[2], number)
        if end < 0:
            holes.add(0, min(start, size))
        elif start != end:
            raise FormatError(f"line {number} begins at {start:#x}, but the line before it ends at {end:#x}")
        end = start + length
        if found[3] != _RESCUED:
            holes.add(min(start, size), min(end, size))
    if end < 0:
        raise FormatError("a map file without a single area")
    holes.add(end, size)
    return holes


def _number(text: str, line: int) -> int:
    """C's notation: 0x is hexadecimal; ddrescue writes no other zero in front."""
    if text[0] == "0" and len(text) > 1 and text[1] != "x":
        raise FormatError(f"line {line} of the map file has a number with a zero in front")
    value = int(text, 0)
    if value >= 1 << 63:
        raise FormatError(f"line {line} of the map file has a number of more than 63 bits")
    return value
