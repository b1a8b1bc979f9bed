"""One zstd frame of bytes that hardly ever repeat, such as the exponents of floats: Huffman coding and little else.

Looking for repeats costs such bytes a third of the speed and makes the frame larger. libzstd has a mode that codes
literals without looking for anything, which the classes of `zstandard` do not offer; its functions do, which
`zstandard` brings along for cffi. They are asked directly, and write where the frame has to be. Where they cannot be
had, the parameters that look least serve instead: the frames differ, what they expand to does not.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import zstandard

try:
    from zstandard._cffi import ffi, lib
except ImportError:  # a zstandard that was built without, or cffi is not there
    ffi = lib = None

if TYPE_CHECKING:
    from airbundle.codec.planes import Bytes

_WINDOW_LOG: Final = 20
_TABLE_LOG: Final = 7
_MIN_MATCH: Final = 7
_NEVER: Final = 1 << 17
"""Bytes from one look for a repeat to the next: a whole block of zstd."""
_LITERALS_ALWAYS: Final = 1
"""ZSTD_ps_enable: the fast strategy with such steps would leave literals as they are."""


class EntropyCoder(Protocol):
    """Makes frames. One per worker: it owns a context, and is not to be shared by threads."""

    def pack(self, plain: Bytes, out: Bytes) -> int:
        """Write one frame that holds `plain` to the start of `out`, and give its size.

        0 if `out` has no room for it; libzstd also says so where it would just have been enough. Behind the frame `out`
        may hold anything.
        """
        ...


class SearchingCoder:
    """By the class of `zstandard`, which always looks for repeats: as little as its parameters let it.

    For what has many, and for all else where `LiteralCoder` cannot be had.
    """

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=_MIN_MATCH, hash_log=_TABLE_LOG, chain_log=_TABLE_LOG - 1,
            search_log=1, target_length=0, window_log=_WINDOW_LOG))

    def pack(self, plain: Bytes, out: Bytes) -> int:
        """See `EntropyCoder.pack`."""
        return placed(self._zstd.compress(plain.data), out)


class LiteralCoder:
    """By the functions of libzstd, looking for nothing. Raises OSError where they cannot be had, or refuse."""

    def __init__(self) -> None:
        if lib is None:
            raise OSError("zstandard has no functions for cffi here")
        made = lib.ZSTD_createCCtx()
        if made == ffi.NULL:
            raise MemoryError
        self._context: Any = ffi.gc(made, lib.ZSTD_freeCCtx)
        for parameter, value in (
            (lib.ZSTD_c_windowLog, _WINDOW_LOG), (lib.ZSTD_c_hashLog, _TABLE_LOG),
            (lib.ZSTD_c_strategy, lib.ZSTD_fast), (lib.ZSTD_c_targetLength, _NEVER),
            (lib.ZSTD_c_literalCompressionMode, _LITERALS_ALWAYS),
        ):
            if lib.ZSTD_isError(lib.ZSTD_CCtx_setParameter(self._context, parameter, value)):
                raise OSError(f"this libzstd does not take parameter {parameter}")

    def pack(self, plain: Bytes, out: Bytes) -> int:
        """See `EntropyCoder.pack`."""
        source, target = ffi.from_buffer(plain), ffi.from_buffer(out, require_writable=True)
        size = lib.ZSTD_compress2(self._context, target, out.nbytes, source, plain.nbytes)
        return 0 if lib.ZSTD_isError(size) else int(size)


def placed(frame: bytes, out: Bytes) -> int:
    """The size of a frame that was put to the start of `out`; 0 if that has no room for it."""
    if len(frame) > out.size:
        return 0
    out[: len(frame)] = np.frombuffer(frame, np.uint8)
    return len(frame)


def literal_coder() -> EntropyCoder:
    """One that looks for nothing, or, where that cannot be had, for as little as can be."""
    return LiteralCoder() if has_functions() else SearchingCoder()


@functools.cache
def has_functions() -> bool:
    """Whether the functions of libzstd are here, and make of a few skewed bytes what they should."""
    numbers = np.arange(1 << 12, dtype=np.uint16) * np.uint16(40_503)  # numpy.random would be one more import
    plain = np.unpackbits(numbers.view(np.uint8).reshape(-1, 2), axis=1).sum(axis=1, dtype=np.uint8)
    frame = np.empty(plain.size, np.uint8)
    try:
        size = LiteralCoder().pack(plain, frame)
        return 0 < size < plain.size // 2 and bool(zstandard.decompress(frame[:size].data) == plain.tobytes())
    except (OSError, AttributeError, zstandard.ZstdError):
        return False
