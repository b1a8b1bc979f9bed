"""Matrices over GF(2^8) times rows of blocks, as fast as the machine can: one primitive, two engines, the same bytes.

`IsalEngine` calls ISA-L through ctypes; `NumpyEngine` needs nothing but numpy. Both release the interpreter lock, take
blocks where they lie, and copy no more than a few KiB of each at a time. Engines keep tables only and may be shared by
threads.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import glob
import importlib.util
import os
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from airbundle.codec.galois import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Indices = Sequence[int] | NDArray[np.intp]

_TABLES_KEPT: Final = 16
_WINDOW: Final = 1 << 13
_PIECE: Final = 1 << 18
_GATHERED: Final = (1 << 13) + 64
"""Bytes of each block that ISA-L gets at a time, side by side. Where they lie, blocks of a stripe are a power of two
apart, and a hundred of them push one another out of the cache; an odd number of lines keeps the pieces from that."""
_LANES: Final = 8


class Engine(Protocol):
    """What computes parity and recovers blocks."""

    @property
    def name(self) -> str:
        """What `doctor` says."""
        ...

    def combine(
        self, coefficients: Bytes, blocks: Bytes, sources: Indices, targets: Indices, *, out_blocks: Bytes | None = None
    ) -> None:
        """Set `out_blocks[targets[r]]` to the sum over `c` of `coefficients[r, c] * blocks[sources[c]]`.

        `coefficients` has shape (rows, columns), at most 256 each. `blocks` and `out_blocks` (by default the same)
        have shape (count, P) with contiguous rows at any stride. A target must not be a source. Raises ValueError.
        """
        ...

    def accumulate(self, coefficients: Bytes, source: Bytes, targets: Sequence[Bytes]) -> None:
        """Add `coefficients[r] * source` to the start of `targets[r]`.

        `source`, shape (N,), and the targets, each at least as long, are whole buffers without gaps; none is another.
        """
        ...


class IsalEngine:
    """Intel's ISA-L, from pyeclib's wheel or the system. Raises OSError where there is none, or none that works."""

    name: Final = "isa-l"

    def __init__(self, path: str | None = None) -> None:
        self.library = _load(path)
        self._tables = functools.lru_cache(maxsize=_TABLES_KEPT)(self._make_tables)
        probe = np.arange(13 * 333, dtype=np.uint32).astype(np.uint8).reshape(13, 333)
        mirror, coefficients = probe.copy(), PRODUCTS[3:10, 250:256]
        for engine, blocks in ((self, probe), (NumpyEngine(), mirror)):
            engine.combine(coefficients, blocks, range(6), range(6, 13))
            engine.accumulate(coefficients[:3, 0], blocks[0], [*blocks[6:9]])
        if not np.array_equal(probe, mirror):
            raise OSError("this ISA-L computes something else")

    def combine(
        self, coefficients: Bytes, blocks: Bytes, sources: Indices, targets: Indices, *, out_blocks: Bytes | None = None
    ) -> None:
        """See `Engine.combine`."""
        out = blocks if out_blocks is None else out_blocks
        given, wanted = _checked(coefficients, blocks, sources, targets, out)
        if not given.size or not wanted.size:
            out[wanted] = 0
            return
        tables = self._tables(coefficients.tobytes(), *coefficients.shape)
        rows = _evenly(given)
        room = np.empty((given.size, min(_GATHERED, blocks.shape[1])), np.uint8)  # once: fresh memory is dear
        for start in range(0, blocks.shape[1], _GATHERED):
            pieces = blocks[rows, start : start + _GATHERED]
            if isinstance(rows, slice):
                np.copyto(room[:, : pieces.shape[1]], pieces)
                pieces = room[:, : pieces.shape[1]]
            else:  # taken by their numbers, rows are a copy already
                pieces = np.ascontiguousarray(pieces)
            inputs = _addresses(pieces, np.arange(given.size))
            outputs = _addresses(out[:, start:], wanted)
            self.library.ec_encode_data(
                pieces.shape[1], given.size, wanted.size, tables, inputs.ctypes.data, outputs.ctypes.data
            )

    def accumulate(self, coefficients: Bytes, source: Bytes, targets: Sequence[Bytes]) -> None:
        """See `Engine.accumulate`."""
        _check_buffers(coefficients, source, targets)
        tables = self._tables(coefficients.tobytes(), len(targets), 1)
        outputs = np.array([target.ctypes.data for target in targets], np.intp)
        self.library.ec_encode_data_update(
            source.size, 1, len(targets), 0, tables, source.ctypes.data, outputs.ctypes.data
        )

    def _make_tables(self, coefficients: bytes, rows: int, columns: int) -> ctypes.Array[ctypes.c_char]:
        tables = ctypes.create_string_buffer(32 * rows * columns)
        self.library.ec_init_tables(columns, rows, coefficients, tables)
        return tables


class NumpyEngine:
    """Tables of products: one lookup a byte gives up to eight rows at once, packed into one 64-bit word."""

    name: Final = "numpy"

    def combine(
        self, coefficients: Bytes, blocks: Bytes, sources: Indices, targets: Indices, *, out_blocks: Bytes | None = None
    ) -> None:
        """See `Engine.combine`."""
        out = blocks if out_blocks is None else out_blocks
        given, wanted = _checked(coefficients, blocks, sources, targets, out)
        groups = [wanted[at : at + _LANES] for at in range(0, wanted.size, _LANES)]
        tables = [_packed(coefficients[at : at + _LANES]) for at in range(0, wanted.size, _LANES)]
        index = np.empty(_WINDOW, np.intp)
        product = np.empty(_WINDOW, np.uint64)
        sums = np.empty((len(groups), _WINDOW), np.uint64)
        for start, size in _windows(blocks.shape[1]):
            sums[:] = 0
            for column, row in enumerate(given):
                np.copyto(index[:size], blocks[row, start : start + size])
                for table, total in zip(tables, sums, strict=True):
                    np.take(table[column], index[:size], out=product[:size], mode="clip")
                    np.bitwise_xor(total[:size], product[:size], out=total[:size])
            for rows, total in zip(groups, sums, strict=True):
                lanes = total[:size].view(np.uint8).reshape(size, _LANES)
                for lane, row in enumerate(rows):
                    out[row, start : start + size] = lanes[:, lane]


    def accumulate(self, coefficients: Bytes, source: Bytes, targets: Sequence[Bytes]) -> None:
        """See `Engine.accumulate`."""
        _check_buffers(coefficients, source, targets)
        product = np.empty(_PIECE, np.uint8)
        for start in range(0, source.size, _PIECE):
            piece = source[start : start + _PIECE]
            for coefficient, target in zip(coefficients, targets, strict=True):
                np.take(PRODUCTS[coefficient], piece, out=product[: piece.size], mode="clip")
                part = target[start : start + piece.size]
                np.bitwise_xor(part, product[: piece.size], out=part)


@functools.cache
def best_engine() -> Engine:
    """ISA-L where it is found and works, else numpy."""
    try:
        return IsalEngine()
    except OSError:
        return NumpyEngine()


def _checked(
    coefficients: Bytes, blocks: Bytes, sources: Indices, targets: Indices, out: Bytes
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sources and targets as arrays. An address that is off by one would be written to by C, so all is checked here."""
    given, wanted = np.asarray(sources, np.intp), np.asarray(targets, np.intp)
    if coefficients.shape != (wanted.size, given.size) or max(coefficients.shape) > 256:
        raise ValueError(f"{coefficients.shape} coefficients for {given.size} sources and {wanted.size} targets")
    for array, rows in ((blocks, given), (out, wanted)):
        if array.dtype != np.uint8 or array.ndim != 2 or (array.shape[1] > 1 and array.strides[1] != 1):
            raise ValueError("blocks are rows of bytes without gaps")
        if rows.size and not (rows.min() >= 0 and rows.max() < len(array)):
            raise ValueError(f"a block that is not among the {len(array)}")
    if blocks.shape[1] != out.shape[1] or blocks.shape[1] >= 1 << 31:
        raise ValueError("blocks are of one size, below 2 GiB")
    if not out.flags.writeable or len(set(wanted.tolist())) != wanted.size:
        raise ValueError("targets can be written and are there once")
    if out is blocks and not set(given.tolist()).isdisjoint(wanted.tolist()):
        raise ValueError("a target is a source")
    if out is not blocks and np.may_share_memory(out, blocks):
        raise ValueError("targets lie among the sources")
    return given, wanted


def _check_buffers(coefficients: Bytes, source: Bytes, targets: Sequence[Bytes]) -> None:
    """As `_checked`, for `accumulate`."""
    if coefficients.shape != (len(targets),) or not targets or source.size >= 1 << 31:
        raise ValueError(f"{coefficients.shape} coefficients for {len(targets)} targets of {source.size} bytes")
    for buffer in (source, *targets):
        if buffer.dtype != np.uint8 or buffer.ndim != 1 or not buffer.flags.c_contiguous or buffer.size < source.size:
            raise ValueError("buffers are bytes without gaps, the targets as long as the source")
    if not all(target.flags.writeable for target in targets):
        raise ValueError("targets can be written")
    for number, target in enumerate(targets):
        if any(np.may_share_memory(target, other) for other in (source, *targets[:number])):
            raise ValueError("a target is the source or another target")


def _evenly(rows: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """The same rows, as a slice where they are evenly apart, as in a whole stripe: of those numpy makes no copy."""
    step = int(rows[1] - rows[0]) if rows.size > 1 else 1
    even = step > 0 and np.array_equal(rows, np.arange(rows.size) * step + rows[0])
    return slice(int(rows[0]), int(rows[-1]) + 1, step) if even else rows


def _addresses(blocks: Bytes, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where rows begin in memory: an array of pointers."""
    return rows * blocks.strides[0] + blocks.ctypes.data


def _packed(coefficients: Bytes) -> NDArray[np.uint64]:
    """For each column the products of all bytes with up to eight rows, shape (columns, 256)."""
    rows, columns = coefficients.shape
    lanes = np.zeros((columns, 256, _LANES), np.uint8)
    lanes[:, :, :rows] = PRODUCTS[coefficients].transpose(1, 2, 0)
    return lanes.view(np.uint64)[:, :, 0]


def _windows(size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, _WINDOW):
        yield start, min(_WINDOW, size - start)


def _load(path: str | None) -> ctypes.CDLL:
    """ISA-L with the two functions declared. `CDLL` releases the interpreter lock during calls."""
    for candidate in [path] if path is not None else _candidates():
        try:
            library = ctypes.CDLL(candidate)
            library.ec_init_tables.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p]
            library.ec_init_tables.restype = None
            library.ec_encode_data.argtypes = [*[ctypes.c_int] * 3, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
            library.ec_encode_data.restype = None
            library.ec_encode_data_update.argtypes = [*[ctypes.c_int] * 4, ctypes.c_char_p, *[ctypes.c_void_p] * 2]
            library.ec_encode_data_update.restype = None
        except (OSError, AttributeError):
            continue
        return library
    raise OSError("no ISA-L here")


def _candidates() -> Iterator[str]:
    spec = importlib.util.find_spec("pyeclib")
    if spec is not None and spec.origin is not None:
        wheel = os.path.dirname(os.path.dirname(spec.origin))
        yield from sorted(glob.glob(os.path.join(glob.escape(wheel), "pyeclib.libs", "libisal*")))
    yield "libisal.so.2"
    found = ctypes.util.find_library("isal")
    if found is not None:
        yield found
