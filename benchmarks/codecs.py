"""The codec alone: planes and zstd as airbundle uses them, beside zipnn, on one thread each, in this process.

`python -m benchmarks.codecs` prints one JSON object. Bytes are bf16 weights in memory; packed and expanded in chunks
of 1 MiB by airbundle, in one call by zipnn. What comes out is compared. Reading, digests and sealing are not in it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from airbundle.codec.compress import Compressor, Expander
from airbundle.codec.dtypes import Dtype

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 128 << 20
CHUNK = 1 << 20


def weights(size: int = SIZE) -> bytes:
    """bf16 with a scale for every 8 MiB."""
    random = np.random.default_rng(2029)
    parts = []
    for layer in range(max(1, size >> 23)):
        scale = np.float32(0.02 * np.exp(random.normal(0, 0.7)) / np.sqrt(1 + layer))
        plain = random.standard_normal(min(size, 1 << 23) // 2, dtype=np.float32) * scale
        parts.append((plain.view(np.uint32) >> 16).astype("<u2").tobytes())
    return b"".join(parts)


def airbundle_codec(plain: bytes) -> tuple[int, float, float]:
    """Bytes, seconds to pack, seconds to expand."""
    compressor, expander = Compressor(), Expander()
    view = memoryview(plain)
    began = time.perf_counter()
    packed = []
    for at in range(0, len(plain), CHUNK):
        codec, frame = compressor.compress(view[at:at + CHUNK], Dtype.FLOAT16)
        packed.append((codec, bytes(frame)))
    between = time.perf_counter()
    back = bytearray(len(plain))
    for at, (codec, kept) in zip(range(0, len(plain), CHUNK), packed, strict=True):
        expander.expand(codec, memoryview(kept), memoryview(back)[at:at + CHUNK])
    ended = time.perf_counter()
    if back != plain:
        sys.exit("airbundle's codec gave other bytes back")
    return sum(len(frame) for _, frame in packed), between - began, ended - between


def zipnn_codec(plain: bytes) -> tuple[int, float, float]:
    """Bytes, seconds to pack, seconds to expand."""
    from zipnn import ZipNN  # noqa: PLC0415 -- it may not be here

    zipnn: Any = ZipNN(**ZIPNN_OPTIONS)
    began = time.perf_counter()
    packed = zipnn.compress(bytearray(plain))
    between = time.perf_counter()
    back = zipnn.decompress(packed)
    ended = time.perf_counter()
    if bytes(back) != plain:
        sys.exit("zipnn gave other bytes back")
    return len(packed), between - began, ended - between


ZIPNN_OPTIONS: dict[str, Any] = {"input_format": "byte", "bytearray_dtype": "bfloat16", "threads": 1}


def compare(runs: int) -> dict[str, object]:
    """Medians of each that is here, taken in turns."""
    plain = weights()
    codecs: dict[str, Callable[[bytes], tuple[int, float, float]]] = {"airbundle": airbundle_codec}
    if importlib.util.find_spec("zipnn") and importlib.util.find_spec("torch"):
        codecs["zipnn"] = zipnn_codec
    taken: dict[str, list[tuple[int, float, float]]] = {name: [] for name in codecs}
    for _ in range(runs):
        for name, codec in codecs.items():
            taken[name].append(codec(plain))
    found: dict[str, object] = {"bytes": len(plain), "runs": runs}
    for name, costs in taken.items():
        found[name] = {"version": importlib.metadata.version(name), "packed_bytes": costs[0][0],
                       "pack_seconds": round(statistics.median(cost[1] for cost in costs), 3),
                       "expand_seconds": round(statistics.median(cost[2] for cost in costs), 3)}
    return found


if __name__ == "__main__":
    print(json.dumps(compare(int(sys.argv[1]) if len(sys.argv) > 1 else 5)))
