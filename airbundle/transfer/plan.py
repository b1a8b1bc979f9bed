"""Plan a pack without keys and without drives: what would be written where, and whether it fits.

Three answers: fits even uncompressed; fits by sample (± 2 %); does not fit, and what would. The sample is at least
256 chunks of each dtype, spread over the source, compressed as `pack` would.
"""

from __future__ import annotations

import enum
import math
import os
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from airbundle.codec.compress import Compressor
from airbundle.crypto.envelope import preamble_length
from airbundle.crypto.suites import SUITES, Suite
from airbundle.errors import UsageError
from airbundle.format import limits
from airbundle.format.geometry import HEADER_SIZE, Geometry, Placement, stripe_shape
from airbundle.format.segment import TAG_SIZE
from airbundle.media.drive import cluster_size, free_space
from airbundle.media.reading import SourceReader
from airbundle.media.source import Source, scan
from airbundle.transfer.slices import Stream, cut_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airbundle.codec.dtypes import Dtype

SAMPLE: Final = 256
SEGMENTS_WANTED: Final = 16
SAMPLE_ERROR: Final = 0.02
MARGIN_SHARE: Final = 0.01
MARGIN_LEAST: Final = 64 * limits.MIB
SIDE_FILES: Final = 512 * limits.KIB  # statement, record and README


class Fit(enum.StrEnum):
    """The three answers."""

    UNCOMPRESSED = "fits even uncompressed"
    SAMPLED = "fits by sample (± 2 %)"
    NOT = "does not fit"


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the bytes of a bundle besides the source and the keys."""

    segment_size: int = 0
    """Source bytes of a segment; 0: by the size of the source."""
    parity: float = 8.0
    pad: bool = False

    def slice_size(self, total: int) -> int:
        """128 MiB. Small bundles have smaller segments: about 16, so that groups and workers are filled evenly."""
        if self.segment_size:
            return self.segment_size
        share = 1 << max(0, (total // SEGMENTS_WANTED).bit_length() - 1)
        return min(max(share, limits.SLICE_LEAST), limits.SLICE_DEFAULT)

    def block_size(self, total: int) -> int:
        """Small bundles use small blocks."""
        if total < limits.MIB:
            return 4 * limits.KIB
        return 16 * limits.KIB if total < 16 * limits.MIB else limits.BLOCK_DEFAULT


@dataclass(frozen=True, slots=True)
class DriveEstimate:
    """One target: where, how much is free or offered, what it would have to hold; bytes."""

    target: str
    room: int
    need_at_most: int
    need_by_sample: int
    margin: int
    segments: int
    fit: Fit


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer of `plan`; sizes in bytes, `ratio` is sealed body per source byte by sample."""

    files: int
    folders: int
    source_bytes: int
    segments: int
    block_size: int
    ratio: float
    by_dtype: tuple[tuple[str, int, float], ...]
    drives: tuple[DriveEstimate, ...]

    @property
    def fit(self) -> Fit:
        """The worst answer of all drives."""
        order = list(Fit)
        return max((drive.fit for drive in self.drives), key=order.index, default=Fit.UNCOMPRESSED)


def open_stream(path: str, options: Options) -> tuple[Source, Stream, SourceReader]:
    """Scan the source, look at the headers of its large files, and cut it."""
    source = scan(path)
    reader = SourceReader(source)

    def read(number: int, offset: int, length: int) -> bytes:
        out = bytearray(length)
        reader.read(starts[number] + offset, memoryview(out))
        return bytes(out)

    starts = list(accumulate((file.size for file in source.files), initial=0))
    return source, cut_stream(source, options.slice_size(source.total), read), reader


def make_plan(path: str, targets: Sequence[str | int], options: Options, *, recipients: int = 1) -> Plan:
    """Sample the source at `path` and answer for each target: a folder, or a size in bytes.

    Without keys the suite is not known, and the one whose digests and envelopes take more is counted with.
    """
    suite = max(SUITES, key=lambda suite: suite.digest_size)
    preamble = preamble_length(suite, recipients)
    source, stream, reader = open_stream(path, options)
    with reader:
        ratios = sample(stream, reader.read)
    by_dtype = _bytes_by_dtype(stream)
    ratio = overall(stream, ratios)
    drives = tuple(estimate(target, stream, options, ratio, suite=suite, preamble=preamble) for target in targets)
    return Plan(files=len(source.files), folders=len(source.folders), source_bytes=source.total,
                segments=len(stream.slices), block_size=options.block_size(source.total), ratio=ratio,
                by_dtype=tuple((dtype.value, size, ratios[dtype]) for dtype, size in by_dtype.items()), drives=drives)


def estimate(target: str | int, stream: Stream, options: Options, ratio: float | None, *,
             suite: Suite, preamble: int, taken: int = 0) -> DriveEstimate:
    """What one drive has to hold, `taken` bytes of it by now. `ratio` None means that nothing was sampled.

    `preamble` is in bytes.

    Raises UsageError for a target that is no folder.
    """
    if isinstance(target, str) and not os.path.isdir(target):
        raise UsageError("is not a folder", where=target, hint="mount the drive, or make the folder")
    room, cluster = (target, 32 * limits.KIB) if isinstance(target, int) else (
        free_space(target) + taken, cluster_size(target))
    most = stored_bytes(stream, options, 1.0, cluster=cluster, suite=suite, preamble=preamble)
    likely = most if ratio is None or options.pad else stored_bytes(stream, options, ratio, cluster=cluster,
                                                                    suite=suite, preamble=preamble)
    margin = max(math.ceil(likely * MARGIN_SHARE), MARGIN_LEAST)
    fit = Fit.NOT
    if most + margin <= room:
        fit = Fit.UNCOMPRESSED
    elif likely * (1 + SAMPLE_ERROR) + margin <= room:
        fit = Fit.SAMPLED
    return DriveEstimate(target=str(target), room=room, need_at_most=most, need_by_sample=likely, margin=margin,
                         segments=len(stream.slices), fit=fit)


def stored_bytes(stream: Stream, options: Options, ratio: float, *, cluster: int, suite: Suite,
                 preamble: int) -> int:
    """Bytes that a volume takes, whole clusters, if bodies shrink to `ratio` of the source."""
    block = options.block_size(stream.source.total)
    total = SIDE_FILES
    for part in stream.slices:
        most = stream.largest_body(part)
        body = most - part.length + math.ceil(part.length * ratio)
        total += _clusters(_stored(body, block, options.parity, suite, preamble), cluster)
    catalog = catalog_body(stream, suite)
    block = limits.BLOCK_MIN if catalog <= limits.CATALOG_SMALL_BODY else limits.BLOCK_DEFAULT
    return total + 2 * _clusters(_stored(catalog, block, 100.0, suite, preamble), cluster)


def catalog_body(stream: Stream, suite: Suite) -> int:
    """Bytes that table and sealed manifest of `stream` take, about."""
    names = sum(len(file.path.encode()) + 96 for file in stream.source.files)
    names += sum(len(path.encode()) + 4 for path in stream.source.folders)
    rows = (156 + 2 * suite.digest_size) * len(stream.slices)
    return 4 * limits.KIB + names + rows + TAG_SIZE * (names // limits.SEALED_PIECE + 1)


def _stored(body: int, block: int, parity: float, suite: Suite, preamble: int) -> int:
    payload = block - HEADER_SIZE
    blocks = max(1, -(-body // payload))
    k, m, stripes = stripe_shape(blocks, block, parity)
    geometry = Geometry(suite=suite.number, digest_size=suite.digest_size, k=k, m=m, stripes=stripes,
                        block_size=block, bundle=bytes(16), number=0, salt=bytes(16), body=blocks * payload)
    return Placement(geometry, preamble).stored_size


def _clusters(size: int, cluster: int) -> int:
    return -(-size // cluster) * cluster


def sample(stream: Stream, read: Callable[[int, memoryview], None]) -> dict[Dtype, float]:
    """Packed per plain byte for each dtype, from up to 256 chunks of each, evenly spread."""
    counts: Counter[Dtype] = Counter(cut.dtype for part in stream.slices for cut in stream.chunks(part))
    seen: Counter[Dtype] = Counter()
    plain_bytes: Counter[Dtype] = Counter()
    packed_bytes: Counter[Dtype] = Counter()
    compressor = Compressor()
    buffer = memoryview(bytearray(limits.CHUNK_MAX))
    for cut in (cut for part in stream.slices for cut in stream.chunks(part)):
        number = seen[cut.dtype]
        seen[cut.dtype] += 1
        if number * SAMPLE % max(SAMPLE, counts[cut.dtype]) >= SAMPLE:
            continue
        plain = buffer[:cut.length]
        read(cut.start, plain)
        _, packed = compressor.compress(plain, cut.dtype)
        plain_bytes[cut.dtype] += len(plain)
        packed_bytes[cut.dtype] += len(packed)
    return {dtype: packed_bytes[dtype] / plain_bytes[dtype] for dtype in counts}


def overall(stream: Stream, ratios: Mapping[Dtype, float]) -> float:
    """Packed per plain byte of the whole source."""
    packed = sum(size * ratios[dtype] for dtype, size in _bytes_by_dtype(stream).items())
    return packed / stream.source.total if stream.source.total else 1.0


def _bytes_by_dtype(stream: Stream) -> dict[Dtype, int]:
    sizes: dict[Dtype, int] = {}
    for run in stream.runs:
        sizes[run.dtype] = sizes.get(run.dtype, 0) + run.length
    return sizes
