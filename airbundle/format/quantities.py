"""Amounts as people write them in commands and policies: sizes with binary suffixes, spans of days."""

from __future__ import annotations

import re
from typing import Final

from airbundle.errors import UsageError
from airbundle.format import limits

DAY: Final = 86_400
"""Seconds."""
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(?:i?B?)", re.IGNORECASE)
_SPAN: Final = re.compile(r"([0-9]{1,6}) ?([smhd])")
_UNITS: Final = {"": 1, "K": limits.KIB, "M": limits.MIB, "G": limits.GIB, "T": 1024 * limits.GIB}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY}


def parse_size(text: str) -> int:
    """`512G`, `128M`, `1.5T`: bytes, suffixes are powers of two. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is not a size", hint="write it like 512G, 128M or 4096")
    size = float(match[1]) * _UNITS[match[2].upper()]
    if size > limits.INTEGER_MAX:
        raise UsageError(f"'{text[:40]}' is more than any drive has")
    return int(size)


def parse_span(text: str) -> int:
    """`90d`, `12h`, `30m`, `10s`: seconds. Raises UsageError."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text[:40]}' is not a span of time", hint="write it like 90d, 12h, 30m or 10s")
    return int(match[1]) * _SECONDS[match[2]]
