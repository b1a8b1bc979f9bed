"""The structure of a GGUF file, version 2 and 3: bounded counts and texts, tensors that cover the rest.

Padding between tensors is zero and no longer than the alignment asks for. Sizes of quantised blocks are those of
ggml's table; a type that is not in it is not examined.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from airbundle.station.gates.result import Outcome, RefusalError

if TYPE_CHECKING:
    from airbundle.station.gates.rules import GateRules
    from airbundle.station.gates.window import Window

# Type: elements a block, bytes a block (ggml's type traits).
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17),
}
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_U32, _TEXT, _ARRAY = 4, 8, 9
_KEY_MAX: Final = 65_535
_TEXT_MAX: Final = 8 << 20
_PAIRS_MAX: Final = 65_536
_TENSORS_MAX: Final = 262_144
_TEXTS_MAX: Final = 4_000_000
_DIMENSIONS_MAX: Final = 4
_ALIGNMENT_MAX: Final = 1 << 16


class _Header:
    """Reads the header front to back."""

    def __init__(self, window: Window, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._texts = 0
        self.position = 4

    def take(self, length: int) -> bytes:
        self.skip(length)
        return self._window.read(self.position - length, length)

    def skip(self, length: int) -> None:
        if self.position + length > min(self._limit, self._window.size):
            raise RefusalError("the header is longer than the file or its limit")
        self.position += length

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def text_length(self, most: int) -> int:
        length = self.number(8)
        self._texts += 1
        if length > most or self._texts > _TEXTS_MAX:
            raise RefusalError("a text of the header is too long, or there are too many")
        return length


def check_gguf(window: Window, rules: GateRules) -> str:
    """Refuse what is no well-formed GGUF file. Returns what was examined."""
    header = _Header(window, rules.header_bytes)
    version = header.number(4)
    if version not in {2, 3}:
        raise RefusalError(f"GGUF of version {version:#x}", Outcome.NOT_EXAMINED)
    tensors, pairs = header.number(8), header.number(8)
    if tensors > _TENSORS_MAX or pairs > _PAIRS_MAX:
        raise RefusalError(f"{tensors} tensors and {pairs} pairs are too many")
    alignment = _read_pairs(header, pairs)
    names: set[bytes] = set()
    spans = sorted(_tensor_span(header, names) for _ in range(tensors))
    if len(names) != tensors:
        raise RefusalError("two tensors have one name")
    data = _aligned(header.position, alignment)
    if tensors == 0:
        data = min(data, window.size)
    position = header.position
    for offset, size in spans:
        if offset % alignment or data + offset != _aligned(position, alignment):
            raise RefusalError(f"the tensor at {offset} leaves a hole, or lies over another")
        window.require_zeros(position, data + offset, "padding")
        position = data + offset + size
    if not position <= window.size <= max(position, _aligned(position, alignment)):
        raise RefusalError(f"the tensors end at {position}, the file at {window.size}")
    window.require_zeros(position, window.size, "padding")
    return f"GGUF, {tensors} tensors"


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _read_pairs(header: _Header, pairs: int) -> int:
    """Walk the pairs; the alignment, which is 32 where none says it."""
    keys: set[bytes] = set()
    alignment = 32
    for _ in range(pairs):
        key = header.take(header.text_length(_KEY_MAX))
        if key in keys or not key.isascii():
            raise RefusalError("a key is there twice, or is not ASCII")
        keys.add(key)
        kind = header.number(4)
        if key == b"general.alignment":
            alignment = header.number(4) if kind == _U32 else 0
        else:
            _skip(header, kind)
    if not 8 <= alignment <= _ALIGNMENT_MAX or alignment % 8:
        raise RefusalError("general.alignment is no multiple of 8 up to 64 KiB")
    return alignment


def _skip(header: _Header, kind: int) -> None:
    if kind in _SIZES:
        header.skip(_SIZES[kind])
    elif kind == _TEXT:
        header.skip(header.text_length(_TEXT_MAX))
    elif kind == _ARRAY:
        inner, count = header.number(4), header.number(8)
        if inner in _SIZES:
            header.skip(count * _SIZES[inner])
        elif inner == _TEXT:
            for _ in range(count):  # ends at the limits of the header, whatever `count` says
                header.skip(header.text_length(_TEXT_MAX))
        else:
            raise RefusalError("an array holds what no GGUF holds")
    else:
        raise RefusalError(f"a value has the unknown type {kind}")


def _tensor_span(header: _Header, names: set[bytes]) -> tuple[int, int]:
    """Offset in the data and size of the next tensor."""
    names.add(header.take(header.text_length(_KEY_MAX)))
    dimensions = header.number(4)
    if dimensions > _DIMENSIONS_MAX:
        raise RefusalError(f"a tensor of {dimensions} dimensions")
    shape = [header.number(8) for _ in range(dimensions)]
    kind, offset = header.number(4), header.number(8)
    if kind not in _BLOCKS:
        raise RefusalError(f"a tensor has type {kind}, whose size is not known here", Outcome.NOT_EXAMINED)
    elements, size = _BLOCKS[kind]
    count = math.prod(shape)
    if count >= 1 << 63 or (shape[0] if shape else 1) % elements:
        raise RefusalError("the shape of a tensor is not one of its type")
    return offset, count // elements * size
