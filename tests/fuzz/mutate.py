"""Mutations of valid inputs, drawn from a seed: what a flipped bit, a lying length or another spelling looks like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 4095, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53 - 1, 2**53, 2**63,
           2**64 - 1)
TEXTS = (b"null", b"true", b"[]", b"{}", b"-1", b"1.0", b"1e9", b'""', b'"\\u0000"', b'"\\ud800"', b"9007199254740993",
         b'"../x"', b'"' + b"a" * 300 + b'"', b"[" * 40, b"\xff", b'"\xc3\xa9"', b'"e\xcc\x81"')
_TOKEN = re.compile(rb'"[^"]*"|[0-9]+|[\[\]{},:]')


def mutated(random_: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    """One to four changes."""
    raw = bytearray(seed)
    for _ in range(random_.randint(1, 4)):
        raw = bytearray(random_.choice(_CHANGES)(random_, bytes(raw), others))
    return bytes(raw)


def _flip(random_: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    if not raw:
        return b"\0"
    at = random_.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << random_.randrange(8))]) + raw[at + 1:]


def _number(random_: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    size = random_.choice((1, 2, 4, 8))
    at = random_.randrange(len(raw) + 1)
    return raw[:at] + (random_.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little") + raw[at + size:]


def _cut(random_: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    at = random_.randrange(len(raw) + 1)
    return raw[:at] if random_.random() < 0.5 else raw[at:]


def _repeat(random_: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    first, last = sorted(random_.randrange(len(raw) + 1) for _ in range(2))
    return raw[:last] + raw[first:last] * random_.choice((1, 1, 2, 20)) + raw[last:]


def _splice(random_: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    other = random_.choice(others)
    return raw[:random_.randrange(len(raw) + 1)] + other[random_.randrange(len(other) + 1):]


def _token(random_: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    """Another token in place of one of JSON, or one of them elsewhere."""
    tokens = list(_TOKEN.finditer(raw[:200_000]))
    if not tokens:
        return _flip(random_, raw, [])
    one = random_.choice(tokens)
    new = random_.choice(TEXTS) if random_.random() < 0.5 else random_.choice(tokens).group()
    if one.group().isdigit() and random_.random() < 0.5:
        new = str(random_.choice(NUMBERS)).encode()
    return raw[:one.start()] + new + raw[one.end():]


_CHANGES = (_flip, _number, _cut, _repeat, _splice, _token, _token)
