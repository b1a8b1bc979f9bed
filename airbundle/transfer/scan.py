"""Look for blocks and records where no file system leads to them: the magic at every 512 bytes (spec chapter 4).

Every block that is found is hashed where it lies, so that a sound one is known from one whose header alone is left.
What is kept of it is where it lies and what it says it is. Neighbours of one segment become one run, so a drive with
segments in one piece takes some 70 MB of memory for each TB with blocks of 64 KiB (4 bytes a block and 34 a run), and
one on which no two blocks are neighbours 600 MB. There is a ceiling on both.

A header costs no more than its 512 bytes, whatever size of block it claims: what lies inside a sound block is not
looked at, and of each window no more is hashed than four times its bytes. What is left out for that is counted.

Blocks are told apart by their whole geometry, salt included: what an attempt that was given up has left is a segment
of its own, and never meets the one that took its place.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.record import COPY_SIZE, intact_copy
from airbundle.crypto.suites import SUITES, hash_by_suite, suite_by_number
from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.block import DIGEST_AT, FIELDS_AT, INDEX_AT, KIND_AT, MAGIC, Kind, carries_digest, parse_header
from airbundle.format.dsse import parse_envelope
from airbundle.format.geometry import GEOMETRY_SIZE, HEADER_SIZE, Geometry
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.transfer.claims import DIGEST_SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from airbundle.format.block import Blocks
    from airbundle.media.raw import RawSources, RawWindow
    from airbundle.transfer.progress import Meter

    Rows = NDArray[np.void]

STEP: Final = 512
RUN: Final = np.dtype([("group", "<u4"), ("index", "<u4"), ("count", "<u4"), ("source", "<u4"), ("position", "<u8"),
                       ("tags", "<u8"), ("kind", "u1"), ("sound", "?")])
"""Blocks of one kind of one segment, one behind the other: the first one's index and position, and how many.

`tags` is the place of its first block in `Sightings.tags`; a tag is the first 4 bytes of the block's digest field.
"""
_HIT: Final = np.dtype([("group", "<i8"), ("kind", "u1"), ("index", "<u4"), ("at", "<i8"), ("sound", "?"),
                        ("size", "<i8"), ("tag", "<u4")])
_MAGIC_WORD: Final = np.frombuffer(MAGIC, np.uint64)[0]
_TEXT_WORD: Final = np.frombuffer(b'{"payloa', np.uint64)[0]  # a statement begins so
_PREAMBLE_BYTES: Final = limits.PREAMBLE_MAX


@dataclass(slots=True)
class Sightings:
    """What was found on so many `sources`. After `settle` the runs are in order of their groups.

    Those of group `g` are `runs[starts[g]:starts[g + 1]]`.
    """

    groups: list[Geometry] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)
    by_bundle: dict[bytes, list[Geometry]] = field(default_factory=dict)
    runs: Rows = field(default_factory=lambda: np.empty(0, RUN))
    starts: NDArray[np.intp] = field(default_factory=lambda: np.zeros(1, np.intp))
    tags: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    records: list[tuple[int, int]] = field(default_factory=list)
    hurt_records: list[tuple[int, int]] = field(default_factory=list)
    texts: list[tuple[int, int]] = field(default_factory=list)
    statements_left_out: dict[bytes, int] = field(default_factory=dict)
    sound: int = 0
    unsound: int = 0
    crowded: int = 0
    sources: int = 0

    def of(self, geometry: Geometry) -> Rows:
        """The runs of one attempt at a segment."""
        number = self.numbers.get(geometry.packed())
        if number is None:
            return self.runs[:0]
        return self.runs[self.starts[number]:self.starts[number + 1]]

    def sound_blocks(self, geometry: Geometry) -> int:
        """How many sound blocks of one attempt were found; what lies in several places counts as often."""
        runs = self.of(geometry)
        return int(runs["count"][runs["sound"]].sum())

    def attempts(self, bundle: bytes) -> list[tuple[Geometry, int]]:
        """Attempts at segments of a bundle of which a sound block was found, and how many of them."""
        return [(geometry, count) for geometry in self.by_bundle.get(bundle, ())
                if (count := self.sound_blocks(geometry))]

    def sound_places(self, geometry: Geometry) -> int:
        """For how many different places of one attempt a sound block was found."""
        runs = self.of(geometry)
        runs = runs[runs["sound"]]
        counts = runs["count"].astype(np.int64)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(runs["kind"].astype(np.int64) << 32 | runs["index"], counts) + within
        return len(np.unique(places))

    def bundles(self) -> list[bytes]:
        """Ids of the bundles of which a sound block was found."""
        alive = np.unique(self.runs["group"][self.runs["sound"]])
        return list(dict.fromkeys(self.groups[int(number)].bundle for number in alive))


class _Collector:
    """Puts hits into runs, window by window."""

    def __init__(self, found: Sightings) -> None:
        self.found = found
        self._runs: list[Rows] = [found.runs]
        self._tags: list[NDArray[np.uint32]] = [found.tags]
        self._count, self._run_count = len(found.tags), len(found.runs)
        self._headers_only: set[int] = set()
        self.sound_end = 0  # on this source: what begins before is inside a sound block

    def geometry_of(self, header: bytes) -> Geometry | None:
        """What a header says of its segment; None if that breaks B-1 to B-3."""
        key = header[FIELDS_AT:KIND_AT] + b"\0" + header[KIND_AT + 1:FIELDS_AT + GEOMETRY_SIZE]
        number = self.found.numbers.get(key)
        if number is not None:
            return self.found.groups[number]
        try:
            return parse_header(header, DIGEST_SIZES).geometry
        except FormatError:
            return None

    def group(self, geometry: Geometry, *, sound: bool) -> int:
        """The number of an attempt, of which a `sound` block was found now or not; -1 if it is one too many."""
        key = geometry.packed()
        number = self.found.numbers.get(key)
        if number is None:
            if (len(self.found.groups) >= limits.SEGMENTS_SEEN_MAX
                    or (not sound and len(self._headers_only) >= limits.HEADERS_ONLY_MAX)):
                self.found.crowded += 1
                return -1
            number = self.found.numbers[key] = len(self.found.groups)
            self.found.groups.append(geometry)
            self._headers_only.add(number)
        if sound:
            self._headers_only.discard(number)
        return number

    def note(self, there: list[tuple[int, int]], source: int, positions: list[int], most: int) -> None:
        """Remember where statements are, or may be, in at most so many places."""
        room = most - len(there)
        there += [(source, position) for position in positions[:room]]
        self.found.crowded += max(0, len(positions) - room)

    def add(self, source: int, start: int, hits: Rows) -> None:
        """Hits of one window that begins at `start`, in order."""
        if not len(hits):
            return
        before, here = hits[:-1], hits[1:]
        joined = ((here["group"] == before["group"]) & (here["kind"] == before["kind"])
                  & (here["index"] == before["index"] + 1) & (here["sound"] == before["sound"])
                  & (here["at"] == before["at"] + before["size"]))
        first = np.flatnonzero(np.concatenate([[True], ~joined]))
        room = [len(hits), limits.BLOCKS_SEEN_MAX - self._count,
                *first[limits.RUNS_SEEN_MAX - self._run_count:][:1].tolist()]
        self.found.crowded += len(hits) - min(room)
        hits, first = hits[:min(room)], first[first < min(room)]
        runs = np.empty(len(first), RUN)
        for name in ("group", "index", "kind", "sound"):
            runs[name] = hits[name][first]
        runs["count"] = np.diff(np.append(first, len(hits)))
        runs["source"], runs["position"], runs["tags"] = source, hits["at"][first] + start, first + self._count
        self._runs.append(runs)
        self._tags.append(hits["tag"].copy())
        self._count += len(hits)
        self._run_count += len(runs)
        sound = int(np.count_nonzero(hits["sound"]))
        self.found.sound += sound
        self.found.unsound += len(hits) - sound

    def settle(self) -> Sightings:
        """Everything, in order of the groups and within them in the order in which it was found."""
        self.found.by_bundle.clear()
        for geometry in self.found.groups:
            self.found.by_bundle.setdefault(geometry.bundle, []).append(geometry)
        runs = np.concatenate(self._runs)
        self.found.runs = runs[np.argsort(runs["group"], kind="stable")]
        self.found.tags = np.concatenate(self._tags)
        self.found.starts = np.searchsorted(self.found.runs["group"], np.arange(len(self.found.groups) + 1))
        return self.found


def look_over(sources: RawSources, meter: Meter, found: Sightings | None = None) -> Sightings:
    """Read all sources once, from start to end. Raises MediumError when a device is gone.

    With what was `found` before only those are read that came behind, and their blocks are added to it.
    """
    collector = _Collector(found or Sightings())
    first, collector.found.sources = collector.found.sources, len(sources)
    meter.begin("scanning", sum(sources[number].size for number in range(first, len(sources))))
    for number in range(first, len(sources)):
        collector.sound_end = 0
        for window in sources.windows(number):
            hits = _hits(collector, number, window)
            collector.add(number, window.start, hits)
            meter.add(window.fresh)
    return collector.settle()


def _hits(collector: _Collector, source: int, window: RawWindow) -> Rows:
    """The blocks that begin in the fresh part of a window; records and texts of statements are noted aside."""
    content = window.content
    words = content[:len(content) // STEP * STEP].view(np.uint64)[::STEP // 8]
    places = np.flatnonzero(words[:-(-window.fresh // STEP)] == _MAGIC_WORD) * STEP
    headers = content[:len(words) * STEP].reshape(-1, STEP)[places // STEP, :HEADER_SIZE]
    records = headers[:, KIND_AT] == Kind.RECORD
    texts = np.flatnonzero(words[:-(-window.fresh // STEP)] == _TEXT_WORD) * STEP
    _note_statements(collector, source, window, places[records].tolist(), texts.tolist())
    places, headers = places[~records], headers[~records]
    hits = np.empty(len(places), _HIT)
    hits["at"], hits["kind"] = places, headers[:, KIND_AT]
    hits["index"] = np.ascontiguousarray(headers[:, INDEX_AT:INDEX_AT + 4]).view("<u4")[:, 0]
    hits["tag"] = np.ascontiguousarray(headers[:, DIGEST_AT:DIGEST_AT + 4]).view("<u4")[:, 0]
    hits["group"] = hits["size"] = -1
    budget = limits.HASHED_AGAIN_MAX * len(content)
    for first, end in _alike(headers):
        if window.start + int(places[end - 1]) < collector.sound_end:
            continue
        geometry = collector.geometry_of(headers[first].tobytes())
        if geometry is not None:
            part = hits[first:end]
            budget -= _judge(collector, part, geometry, window, budget)
            judged = part["size"] > 0
            if judged.any():
                part["group"] = collector.group(geometry, sound=bool(part["sound"][judged].any()))
    kept: Rows = hits[(hits["size"] > 0) & (hits["group"] >= 0)]
    return kept


def _note_statements(collector: _Collector, source: int, window: RawWindow, records: list[int],
                     texts: list[int]) -> None:
    """What is whole is told from what only begins so, since anyone can fill a drive with beginnings."""
    whole: list[int] = []
    hurt: list[int] = []
    found = collector.found
    for number, at in enumerate(records):
        tried = number * COPY_SIZE < limits.HASHED_AGAIN_MAX * len(window.content)
        (whole if tried and _is_record(window.content[at:at + COPY_SIZE]) else hurt).append(at + window.start)
    collector.note(found.records, source, whole, limits.RECORDS_SEEN_MAX)
    collector.note(found.hurt_records, source, hurt, limits.RECORDS_SEEN_MAX)
    content, begins, end = window.content.tobytes() if texts else b"", [], 0
    for at in texts:
        if at >= end and (stop := content.find(b"]}", at, at + limits.STATEMENT_MAX)) > 0:
            with suppress(FormatError):
                parse_envelope(content[at:stop + 2], STATEMENT_TYPE)  # T-1
                begins.append(at + window.start)
                end = stop
    collector.note(found.texts, source, begins, limits.TEXTS_SEEN_MAX)


def _is_record(copy: Blocks) -> bool:
    with suppress(FormatError):
        intact_copy(copy.data, hash_by_suite=hash_by_suite)
        return True
    return False


def _alike(headers: Blocks) -> Iterator[tuple[int, int]]:
    """Stretches of headers that say the same of their segment."""
    if len(headers):
        same = headers[:, FIELDS_AT:FIELDS_AT + GEOMETRY_SIZE].copy()
        same[:, KIND_AT - FIELDS_AT] = 0
        border = np.flatnonzero((same[1:] != same[:-1]).any(axis=1)) + 1
        ends = [0, *border.tolist(), len(headers)]
        yield from itertools.pairwise(ends)


def _judge(collector: _Collector, hits: Rows, geometry: Geometry, window: RawWindow, budget: int) -> int:
    """Say of hits of one segment which are sound; gives the bytes that were hashed for that, at most `budget`.

    `size` stays -1 for those that cannot be blocks of it, lie inside a sound block, or were one too many.
    """
    size, suite = geometry.block_size, suite_by_number(geometry.suite)
    counts = np.array([0, -(-_PREAMBLE_BYTES // geometry.payload_size), geometry.list_blocks, geometry.data_blocks,
                       geometry.parity_blocks])
    known = (hits["kind"] >= Kind.PREAMBLE) & (hits["kind"] <= Kind.PARITY)
    known[known] &= hits["index"][known] < counts[hits["kind"][known]]
    known &= hits["at"] + size <= len(window.content)
    view, hashed = window.content.data, 0
    for number in np.flatnonzero(known).tolist():
        at = int(hits["at"][number])
        if window.start + at < collector.sound_end:
            continue
        if hashed + size > budget:
            collector.found.crowded += 1
            continue
        hashed += size
        hits["size"][number] = size
        hits["sound"][number] = carries_digest(view[at:at + size], suite.hash)
        if hits["sound"][number]:
            collector.sound_end = window.start + at + size
    return hashed


assert {suite.number for suite in SUITES} == set(DIGEST_SIZES)
