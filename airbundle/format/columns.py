"""What is kept of each of half a million files, in columns: end to end, and made into objects when asked for."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, overload

from airbundle.format.names import SafePath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


Row = TypeVar("Row")


class Rows(Sequence[Row]):
    """A sequence of which each row is made when it is asked for: a subclass says how many there are, and makes them."""

    __slots__ = ()

    @abstractmethod
    def _row(self, number: int) -> Row:
        """Row `number`, of those from 0 on."""

    @overload
    def __getitem__(self, number: int) -> Row: ...

    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...

    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        if isinstance(number, slice):
            return [self._row(one) for one in range(*number.indices(len(self)))]
        return self._row(range(len(self))[number])


class PathColumn(Rows[SafePath]):
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

    def _row(self, number: int) -> SafePath:
        return SafePath(self._text[self._ends[number]:self._ends[number + 1]].decode())

    def __iter__(self) -> Iterator[SafePath]:
        begin = 0
        for end in self._ends[1:]:
            yield SafePath(self._text[begin:end].decode())
            begin = end
