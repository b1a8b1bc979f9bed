"""Which runs of a file hold which kind of numbers, as a safetensors or GGUF header tells (choice of codec, chapter 6).

Recognised by content, never by name. A header is a stranger's: what is off in it makes the whole file UNKNOWN, which
costs ratio, never bytes. Work and memory are bounded before anything is decoded. Offsets and lengths are bytes.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Read = Callable[[int, int], bytes]

SHORT: Final = 64 << 10
_HEADER_MAX: Final = 100_000_000
_TENSORS_MAX: Final = 262_144
_ITEMS_MAX: Final = 2_000_000
_GGUF_TEXT_MAX: Final = 16 << 20
_GGUF_DIMENSIONS_MAX: Final = 8
_ALIGNMENT_MAX: Final = 1 << 20
_WINDOW: Final = 1 << 20


class Dtype(enum.Enum):
    """Kinds of content that are packed alike; bf16 and fp16 are one kind."""

    FLOAT32 = "fp32"
    FLOAT16 = "bf16 or fp16"
    FLOAT8 = "fp8"
    OPAQUE = "quantised"
    UNKNOWN = "other"

    @property
    def width(self) -> int:
        """Bytes a word."""
        return {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2}.get(self, 1)


@dataclass(frozen=True, slots=True)
class Run:
    """`length` bytes from `start`; the first whole word begins `phase` bytes into the run."""

    start: int
    length: int
    dtype: Dtype
    phase: int = 0

    @property
    def end(self) -> int:
        """Where the next run starts."""
        return self.start + self.length


class _OffError(Exception):
    """The header is not what its format says."""


def runs(size: int, read: Read) -> list[Run]:
    """Cover `[0, size)` of a file with runs, in order. `read(offset, length)` gives its bytes; its errors pass.

    No run is shorter than 64 KiB unless the file is. Nothing is raised for any content.
    """
    if size == 0:
        return []
    try:
        head = read(0, min(9, size))
        if head[:4] == b"GGUF":
            tensors = _gguf(_Cursor(size, read))
        elif len(head) == 9 and head[8:] == b"{":
            tensors = _safetensors(int.from_bytes(head[:8], "little"), size, read)
        else:
            tensors = []
        return _joined(_covering(tensors, size))
    except _OffError:
        return [Run(0, size, Dtype.UNKNOWN)]


# ---- from tensors to runs ----


def _covering(tensors: Iterable[Run], size: int) -> list[Run]:
    """The tensors in order, and what lies between them as UNKNOWN; neighbours of one kind as one run."""
    covered: list[Run] = []
    position = 0
    for tensor in sorted(tensors, key=lambda run: (run.start, run.length)):
        if tensor.start < position or tensor.end > size:
            raise _OffError
        if tensor.length == 0:
            continue
        last = covered[-1] if covered else None
        if last and last.dtype is tensor.dtype and _in_step(last, tensor):
            covered[-1] = Run(last.start, tensor.end - last.start, last.dtype)
        else:
            if tensor.start > position:
                covered.append(Run(position, tensor.start - position, Dtype.UNKNOWN))
            covered.append(tensor)
        position = tensor.end
    if position < size:
        covered.append(Run(position, size - position, Dtype.UNKNOWN))
    return covered


def _in_step(last: Run, run: Run) -> bool:
    """Whether the gap between two runs is small and leaves the words of both at one phase."""
    return run.start - last.end < SHORT and (run.start - last.start) % last.dtype.width == 0


def _joined(covered: list[Run]) -> list[Run]:
    """Runs under 64 KiB joined to the one before; at the start, to the one behind, whose words keep their phase."""
    joined: list[Run] = []
    for run in covered:
        last = joined[-1] if joined else None
        if last is None:
            joined.append(run)
        elif last.length < SHORT and run.length > last.length:
            phase = (last.length + run.phase) % run.dtype.width
            joined[-1] = Run(last.start, last.length + run.length, run.dtype, phase)
        elif run.length < SHORT or last.length < SHORT or _continues(last, run):
            joined[-1] = Run(last.start, last.length + run.length, last.dtype, last.phase)
        else:
            joined.append(run)
    return joined


def _continues(last: Run, run: Run) -> bool:
    """Whether a short run between two of one kind is all that kept them apart."""
    return last.dtype is run.dtype and (run.start + run.phase - last.start - last.phase) % run.dtype.width == 0


# ---- safetensors ----

_SAFETENSORS: Final = {
    "F32": Dtype.FLOAT32,
    "F16": Dtype.FLOAT16,
    "BF16": Dtype.FLOAT16,
    "F8_E4M3": Dtype.FLOAT8,
    "F8_E5M2": Dtype.FLOAT8,
    "F8_E4M3FNUZ": Dtype.FLOAT8,
    "F8_E5M2FNUZ": Dtype.FLOAT8,
    "F8_E8M0": Dtype.FLOAT8,
    "F4": Dtype.OPAQUE,
    "F6_E2M3": Dtype.OPAQUE,
    "F6_E3M2": Dtype.OPAQUE,
}


class _Tensor(msgspec.Struct, gc=False):
    # `__metadata__` has neither field.
    dtype: str = ""
    data_offsets: tuple[int, int] | None = None


def _safetensors(length: int, size: int, read: Read) -> list[Run]:
    if length > _HEADER_MAX or 8 + length > size:
        raise _OffError
    raw = read(8, length)
    # Each tensor costs memory when decoded, an opening brace costs its writer one byte.
    if len(raw) != length or raw.count(b"{") > _TENSORS_MAX:
        raise _OffError
    try:
        tensors = msgspec.json.decode(raw, type=dict[str, _Tensor])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _OffError from None
    found = []
    for tensor in tensors.values():
        if tensor.data_offsets is not None:
            begin, end = tensor.data_offsets
            if not 0 <= begin <= end:
                raise _OffError
            found.append(Run(8 + length + begin, end - begin, _SAFETENSORS.get(tensor.dtype, Dtype.UNKNOWN)))
    return found


# ---- GGUF ----

_GGUF_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_STRING: Final = 8
_GGUF_ARRAY: Final = 9
_GGUF_U32: Final = 4
_GGUF_FLOATS: Final = {0: Dtype.FLOAT32, 1: Dtype.FLOAT16, 30: Dtype.FLOAT16}
_GGUF_INTEGERS: Final = frozenset({24, 25, 26, 27, 28})  # I8 to I64, and F64


class _Cursor:
    """Reads a header front to back through a window; counts what it took."""

    def __init__(self, size: int, read: Read) -> None:
        self.position = 0
        self.size = size
        self._read = read
        self._window = b""
        self._window_at = 0
        self._items = 0

    def take(self, length: int) -> bytes:
        self._items += 1
        if self._items > _ITEMS_MAX or length > _WINDOW or self.position + length > min(self.size, _HEADER_MAX):
            raise _OffError
        start = self.position - self._window_at
        if start < 0 or start + length > len(self._window):
            self._window_at, start = self.position, 0
            self._window = self._read(self.position, min(_WINDOW, self.size - self.position))
            if len(self._window) < length:
                raise _OffError
        self.position += length
        return self._window[start : start + length]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def skip(self, length: int) -> None:
        if length > min(self.size, _HEADER_MAX) - self.position:
            raise _OffError
        self.position += length
        if self.position >= self._window_at + len(self._window):
            self._window = b""
            self._window_at = self.position

    def skip_text(self) -> None:
        length = self.number(8)
        if length > _GGUF_TEXT_MAX:
            raise _OffError
        self.skip(length)


def _gguf(cursor: _Cursor) -> list[Run]:
    cursor.take(4)
    if cursor.number(4) not in {2, 3}:  # a big-endian file reads as another number here
        raise _OffError
    tensors, pairs = cursor.number(8), cursor.number(8)
    alignment = 32
    for _ in range(pairs):
        length = cursor.number(8)
        key = cursor.take(length)
        kind = cursor.number(4)
        if key == b"general.alignment" and kind == _GGUF_U32:
            alignment = cursor.number(4)
        else:
            _skip_value(cursor, kind)
    if not 0 < alignment <= _ALIGNMENT_MAX:
        raise _OffError
    infos = sorted((_gguf_tensor(cursor) for _ in range(tensors)), key=lambda info: info[0])
    data = -(-cursor.position // alignment) * alignment
    found = []
    for number, (offset, kind, elements) in enumerate(infos):
        following = infos[number + 1][0] if number + 1 < len(infos) else cursor.size - data
        room = following - offset
        if kind in _GGUF_FLOATS:
            dtype = _GGUF_FLOATS[kind]
            length = elements * dtype.width
        else:
            # What a quantised tensor takes depends on its type; it reaches to the next one but for padding.
            dtype = Dtype.UNKNOWN if kind in _GGUF_INTEGERS else Dtype.OPAQUE
            length = room
        if length > room or room < 0:
            raise _OffError
        found.append(Run(data + offset, length, dtype))
    return found


def _gguf_tensor(cursor: _Cursor) -> tuple[int, int, int]:
    """Offset in the data, type and number of elements."""
    cursor.skip_text()
    dimensions = cursor.number(4)
    if dimensions > _GGUF_DIMENSIONS_MAX:
        raise _OffError
    elements = math.prod(cursor.number(8) for _ in range(dimensions))
    kind = cursor.number(4)
    return cursor.number(8), kind, elements


def _skip_value(cursor: _Cursor, kind: int) -> None:
    if kind == _GGUF_STRING:
        cursor.skip_text()
    elif kind in _GGUF_SIZES:
        cursor.skip(_GGUF_SIZES[kind])
    elif kind == _GGUF_ARRAY:
        inner, count = cursor.number(4), cursor.number(8)
        if inner in _GGUF_SIZES:
            cursor.skip(count * _GGUF_SIZES[inner])
        elif inner == _GGUF_STRING:
            for _ in range(count):  # ends at the header's end or the cursor's budget, whatever `count` says
                cursor.skip_text()
        else:
            raise _OffError  # arrays of arrays are not written by anything
    else:
        raise _OffError
