"""What is kept of each of half a million files, in columns: end to end, and made into objects when asked for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from airbundle.format.names import SafePath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class PathColumn(Sequence[SafePath]):
    """Paths as UTF-8: 8 bytes more than their own length each, where an object takes 60.

    They are taken for parsed: who fills it from outside parses them before anybody else sees it.
    """

    __slots__ = ("_ends", "_text")

    def __init__(self, paths: Iterable[str]) -> None:
        text, ends = bytearray(), array("Q", [0])
        for path in paths:
            text += path.encode()
            ends.append(len(text))
        self._text, self._ends = bytes(text), ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> SafePath: ...

    @overload
    def __getitem__(self, number: slice) -> list[SafePath]: ...

    def __getitem__(self, number: int | slice) -> SafePath | list[SafePath]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        return SafePath(self._text[self._ends[number]:self._ends[number + 1]].decode())

    def __iter__(self) -> Iterator[SafePath]:
        begin = 0
        for end in self._ends[1:]:
            yield SafePath(self._text[begin:end].decode())
            begin = end
