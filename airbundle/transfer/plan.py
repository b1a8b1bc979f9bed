"""Plan a pack without keys and without drives: what would be written where, and whether it fits.

Three answers: fits even uncompressed; fits by sample (± 2 %); does not fit, and what would. The sample is at least
256 chunks of each dtype, spread over the source, compressed as `pack` would.
"""

from __future__ import annotations

import enum
import math
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from airbundle.codec.compress import Compressor
from airbundle.crypto.envelope import preamble_length
from airbundle.crypto.suites import SUITES, Suite
from airbundle.errors import MediumError, UsageError
from airbundle.format import limits
from airbundle.format.geometry import HEADER_SIZE, Geometry, Placement, stripe_shape
from airbundle.format.segment import TAG_SIZE
from airbundle.media.drive import cluster_size, filesystem_type, free_space, physical_device
from airbundle.media.faults import reporting
from airbundle.media.reading import SourceReader
from airbundle.media.source import Source, scan
from airbundle.media.system import cpu_count
from airbundle.transfer.layout import ALONE, Team, default_lose, lay_out
from airbundle.transfer.slices import Stream, cut_stream
from airbundle.transfer.workspace import MEMORY_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airbundle.codec.dtypes import Dtype

SAMPLE: Final = 256
SEGMENTS_WANTED: Final = 32
SEGMENTS_MOST: Final = 100_000
FAT_FILES_MAX: Final = 32_000  # a folder has 65,536 entries, and a file of ours takes two
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

    def slice_size(self, total: int, lose: int = 0) -> int:
        """64 MiB. Small bundles have about 32 segments, to fill groups and workers; huge ones not more than 100,000.

        Less where many may be lost: a worker has a buffer for each parity segment of a group, beside its own.
        """
        if self.segment_size:
            return self.segment_size
        share = 1 << max(0, (total // SEGMENTS_WANTED).bit_length() - 1)
        most = min(limits.SLICE_DEFAULT, MEMORY_DEFAULT // (lose + 3) // limits.MIB * limits.MIB)
        least = max(min(limits.SLICE_LEAST, most), -(-total // SEGMENTS_MOST))
        size = min(max(min(share, most), least), limits.SLICE_MAX)
        if lose:
            return size
        # A little more than whole groups of one drive would cost a parity segment more: stretch the slices instead.
        whole = -(-total // size) // ALONE * ALONE
        stretched = -(-total // whole) if whole else size
        return -(-stretched // limits.MIB) * limits.MIB if size < stretched <= size + size // ALONE else size

    def block_size(self, total: int) -> int:
        """Small bundles use small blocks."""
        if total < limits.MIB:
            return 4 * limits.KIB
        return 16 * limits.KIB if total < 16 * limits.MIB else limits.BLOCK_DEFAULT


@dataclass(frozen=True, slots=True)
class DriveEstimate:
    """One target: where, how much is free or offered, what it would have to hold; bytes, of its segments a number."""

    target: str
    room: int
    need_at_most: int
    need_by_sample: int
    margin: int
    segments: int
    fit: Fit


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer of `plan`; sizes in bytes, `ratio` is sealed body per source byte by sample.

    `seconds` is what compressing alone takes on this machine, at the rate of the sample: a pack never takes less.
    """

    files: int
    folders: int
    source_bytes: int
    segments: int
    parity_segments: int
    block_size: int
    lose: int
    stripe_parity: tuple[int, int]
    ratio: float
    by_dtype: tuple[tuple[str, int, float], ...]
    drives: tuple[DriveEstimate, ...]
    seconds: float
    warnings: tuple[str, ...]

    @property
    def fit(self) -> Fit:
        """The worst answer of all drives."""
        order = list(Fit)
        return max((drive.fit for drive in self.drives), key=order.index, default=Fit.UNCOMPRESSED)


def open_stream(path: str, options: Options, lose: int | None = None) -> tuple[Source, Stream, SourceReader]:
    """Scan the source, look at the headers of its large files, and cut it."""
    source = scan(path)
    reader = SourceReader(source)

    def read(number: int, offset: int, length: int) -> bytes:
        out = bytearray(length)
        reader.read(source.files.starts[number] + offset, memoryview(out))
        return bytes(out)

    return source, cut_stream(source, options.slice_size(source.total, lose or 0), read), reader


def make_plan(path: str, targets: Sequence[str | int], options: Options, *, lose: int | None = None,
              recipients: int = 1) -> Plan:
    """Sample the source at `path` and answer for each target: a folder, or a size in bytes.

    Without keys the suite is not known, and the one whose digests and envelopes take more is counted with.
    """
    suite = max(SUITES, key=lambda suite: suite.digest_size)
    source, stream, reader = open_stream(path, options, lose)
    began = time.thread_time()
    with reader:
        ratios, sampled = sample(stream, reader.read)
    spent = time.thread_time() - began
    by_dtype = _bytes_by_dtype(stream)
    ratio = overall(stream, ratios)
    lose = default_lose(len(targets)) if lose is None else lose
    needs = Needs(stream, options, suite, preamble_length(suite, recipients), ratio)
    rooms = [Room.of(target, targets) for target in targets]
    drives, parity = _drive_estimates(needs, rooms, lose) if targets else ((), 0)
    longest = max(needs.bodies(by_sample=True), default=1)
    _, m, stripes = stripe_shape(-(-longest // (needs.block - HEADER_SIZE)), needs.block, options.parity)
    return Plan(files=len(source.files), folders=len(source.folders), source_bytes=source.total,
                segments=len(stream.slices), parity_segments=parity, block_size=needs.block, lose=lose,
                stripe_parity=(m, stripes), ratio=ratio,
                by_dtype=tuple((dtype.value, size, ratios[dtype]) for dtype, size in by_dtype.items()), drives=drives,
                seconds=spent / max(1, sampled) * source.total / cpu_count(),
                warnings=shared([target for target in targets if isinstance(target, str)], lose))


@dataclass(frozen=True, slots=True)
class Room:
    """One target: bytes free there for this bundle alone, `taken` of them by it already; its cluster size."""

    target: str
    free: int
    cluster: int

    @classmethod
    def of(cls, target: str | int, targets: Sequence[str | int], taken: int = 0) -> Self:
        """Targets on one file system share its space. Raises UsageError for a target that is no folder."""
        if isinstance(target, int):
            return cls(str(target), target, 32 * limits.KIB)
        if not os.path.isdir(target):
            raise UsageError("is not a folder", where=target, hint="mount the drive, or make the folder")
        with reporting(target):
            device = os.stat(target).st_dev
            sharing = sum(isinstance(other, str) and os.path.isdir(other) and os.stat(other).st_dev == device
                          for other in targets)
        return cls(target, free_space(target) // max(1, sharing) + taken, cluster_size(target))


class Needs:
    """What a stream will take, in bytes on a medium: at most, and by sample where there is a `ratio`."""

    def __init__(self, stream: Stream, options: Options, suite: Suite, preamble: int, ratio: float | None) -> None:
        """`preamble` is its length in bytes."""
        self._stream, self._options, self._ratio = stream, options, ratio
        self._suite, self._preamble = suite, preamble
        self.block = options.block_size(stream.source.total)

    def segments(self, cluster: int, *, by_sample: bool) -> list[int]:
        """The size of each data segment; `pad` makes both answers the same."""
        slack = 1 + SAMPLE_ERROR if by_sample else 1.0
        return [_clusters(_stored(body, self.block, self._options.parity, self._suite, self._preamble), cluster)
                for body in self.bodies(by_sample=by_sample, slack=slack)]

    def bodies(self, *, by_sample: bool, slack: float = 1.0) -> list[int]:
        """Bytes of the body of each data segment."""
        ratio = self._ratio if by_sample and self._ratio is not None and not self._options.pad else 1.0
        largest = [(part.length, self._stream.largest_body(part)) for part in self._stream.slices]
        return [min(most, most - length + math.ceil(length * ratio * slack)) for length, most in largest]

    def beside(self, cluster: int) -> int:
        """Statement, record, README and both catalogs, on each volume."""
        catalog = catalog_body(self._stream, self._suite)
        block = limits.BLOCK_MIN if catalog <= limits.CATALOG_SMALL_BODY else limits.BLOCK_DEFAULT
        return SIDE_FILES + 2 * _clusters(_stored(catalog, block, 100.0, self._suite, self._preamble), cluster)

    def lay_out(self, rooms: Sequence[Room], lose: int, kept: Sequence[Team] = (), *,
                by_sample: bool) -> tuple[Team, ...]:
        """Teams that leave a margin on each drive, behind those that are kept. Raises MediumError, UsageError."""
        cluster = max(room.cluster for room in rooms)
        sizes = self.segments(cluster, by_sample=by_sample)
        beside = self.beside(cluster)
        left = [room.free - beside - margin(room.free, sum(sizes)) for room in rooms]
        return lay_out(sizes, left, lose, kept, [room.target for room in rooms])


def margin(room: int, needed: int) -> int:
    """What stays free on a drive: 1 % of what is written, and 64 MiB at least."""
    return max(math.ceil(min(room, needed) * MARGIN_SHARE), MARGIN_LEAST)


def fitting(needs: Needs, rooms: Sequence[Room], lose: int,
            kept: Sequence[Team] = ()) -> tuple[Fit, tuple[Team, ...]]:
    """How it fits, and the teams. Raises MediumError if it does not."""
    try:
        return Fit.UNCOMPRESSED, needs.lay_out(rooms, lose, kept, by_sample=False)
    except MediumError:
        return Fit.SAMPLED, needs.lay_out(rooms, lose, kept, by_sample=True)


def _drive_estimates(needs: Needs, rooms: Sequence[Room], lose: int) -> tuple[tuple[DriveEstimate, ...], int]:
    """A line for each drive, and how many parity segments there are."""
    cluster = max(room.cluster for room in rooms)
    try:
        fit, teams = fitting(needs, rooms, lose)
    except MediumError:  # what it would need: as if each drive were as large as all of it
        fit, teams = Fit.NOT, lay_out(needs.segments(cluster, by_sample=True), [1 << 62] * len(rooms), lose)
    most, likely = ([needs.beside(cluster)] * len(rooms) for _ in range(2))
    counts = [0] * len(rooms)
    for totals, by_sample in ((most, False), (likely, True)):
        sizes = needs.segments(cluster, by_sample=by_sample)
        for team in teams:
            members = sizes[team.first:team.first + team.count]
            for volume, size in zip(team.volumes, members + [max(members)] * team.parity, strict=True):
                totals[volume - 1] += size
                counts[volume - 1] += by_sample
    spare = [margin(room.free, need) for room, need in zip(rooms, likely, strict=True)]
    return tuple(DriveEstimate(target=room.target, room=room.free, need_at_most=high, need_by_sample=need,
                               margin=kept, segments=count,
                               fit=fit if fit is not Fit.NOT or need + kept > room.free else Fit.SAMPLED)
                 for room, high, need, kept, count in zip(rooms, most, likely, spare, counts, strict=True)
                 ), sum(team.parity for team in teams)


def require_folders_hold(targets: Sequence[str], teams: Sequence[Team]) -> None:
    """Raise UsageError where a folder on FAT would have more files than it can."""
    counts = Counter(volume for team in teams for volume in team.volumes)
    for number, target in enumerate(targets, 1):
        if counts[number] > FAT_FILES_MAX and filesystem_type(target) in {"vfat", "msdos"}:
            raise UsageError(f"a folder on FAT holds {FAT_FILES_MAX:,} of these files, {counts[number]:,} are needed",
                             where=target, hint="take a larger --segment-size, or exFAT")


def shared(targets: Sequence[str], lose: int) -> tuple[str, ...]:
    """Warnings about targets that lie on one physical drive."""
    drives: dict[str, list[str]] = {}
    for target in targets:
        drives.setdefault(physical_device(target), []).append(target)
    cover = f": --lose {lose} does not cover that" if lose else ""
    return tuple(f"{' and '.join(some)} are on one drive and fall together{cover}"
                 for some in drives.values() if len(some) > 1)


def catalog_body(stream: Stream, suite: Suite) -> int:
    """Bytes that table and sealed manifest of `stream` take, about."""
    names = sum(len(path.encode()) + 96 for path in stream.source.files.paths)
    names += sum(len(path.encode()) + 4 for path in stream.source.folders)
    rows = (156 + 2 * suite.digest_size) * 2 * len(stream.slices)  # at worst a parity segment for each
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


def sample(stream: Stream, read: Callable[[int, memoryview], None]) -> tuple[dict[Dtype, float], int]:
    """Packed per plain byte for each dtype, from up to 256 chunks of each, evenly spread; and all bytes of these."""
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
    return {dtype: packed_bytes[dtype] / plain_bytes[dtype] for dtype in counts}, plain_bytes.total()


def overall(stream: Stream, ratios: Mapping[Dtype, float]) -> float:
    """Packed per plain byte of the whole source."""
    packed = sum(size * ratios[dtype] for dtype, size in _bytes_by_dtype(stream).items())
    return packed / stream.source.total if stream.source.total else 1.0


def _bytes_by_dtype(stream: Stream) -> dict[Dtype, int]:
    sizes: dict[Dtype, int] = {}
    for run in stream.runs:
        sizes[run.dtype] = sizes.get(run.dtype, 0) + run.length
    return sizes
