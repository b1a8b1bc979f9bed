"""Lists and preambles from blocks of which several were found for one place: a bounded search (S-7)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from airbundle.format import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def first_fitting(offers: Iterable[Sequence[bytes]], length: int, fits: Callable[[bytes], bool]) -> bytes | None:
    """The first of 64 combinations that fits, cut to `length` bytes; `offers` are the payloads for each block."""
    for choice in itertools.islice(itertools.product(*offers), limits.LIST_COMBINATIONS_MAX):
        content = b"".join(choice)[:length]
        if fits(content):
            return content
    return None
