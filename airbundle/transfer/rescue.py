"""Rescue: make volumes again from drives without a file system, images, and carved files. Needs no key.

1. read every source once, and note where blocks and records lie (`scan.py`)
2. statements from records; of several the trusted, then the one whose catalog fits what was found
3. the catalog, from all copies of its blocks anywhere; its root decides (G-2)
4. each segment that a row names, from blocks with its geometry and salt (`assemble.py`, `pieces.py`); written at once
5. what is not whole yet, from the other members of its group (`restore.py`)
6. catalogs and statement of each volume of which something was found, the statement last (V-3, V-4)

What an attempt that was given up has left has another salt than its row, and is counted and left out. Without a
statement or a catalog the blocks are written as they were found, under the numbers of their segments, and that is said.
Nothing is ever written to a source.

What volumes of the same bundles hold that are in the target already is found too, like what lies on a source, and
merged: so another run never makes them worse, and drives may come one after another.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.errors import (
    AirbundleError,
    DamagedError,
    ForgedError,
    IncompleteError,
    InterruptedRunError,
    UnsignedError,
    UsageError,
)
from airbundle.format.names import shown
from airbundle.media import volume as volumes
from airbundle.media.raw import RawSources
from airbundle.media.volume import VolumeReader
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.assemble import keep_there
from airbundle.transfer.check import check_file
from airbundle.transfer.ends import prepare_ends, write_ends
from airbundle.transfer.laying import put_image
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.readback import holds_image
from airbundle.transfer.readme import volume_readme
from airbundle.transfer.reopen import best_effort, learn_preamble, reopened
from airbundle.transfer.replace import rebuilt_catalog, replace_ends
from airbundle.transfer.rescued import ReadSource, RescuedBundle, RescuedSegment, RescueResult, raise_worst
from airbundle.transfer.restore import Restorer
from airbundle.transfer.scan import Sightings, look_over
from airbundle.transfer.signers import documents_of
from airbundle.transfer.stated import FoundStatement, found_statements
from airbundle.transfer.statements import StatementCopy, rank_statements, read_statements
from airbundle.transfer.strays import LABEL, require_right_names, require_room, write_strays
from airbundle.transfer.verdict import belief_of, describe_volumes
from airbundle.transfer.verify import counted_back
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.block import Flags
    from airbundle.format.catalog import Row
    from airbundle.format.dsse import Envelope
    from airbundle.transfer.assemble import Assembled
    from airbundle.transfer.image import Image
    from airbundle.transfer.open import Bundle


def rescue(given: Sequence[str], target: str, *, trust: TrustSet, bundle_id: str = "",
           progress: Callable[[Tick], None] | None = None) -> RescueResult:
    """Rescue all bundles, or the one whose id begins with `bundle_id`, into volumes in the folder `target`.

    Raises UsageError, MediumError, DamagedError without any block; afterwards, with the result as its report, what
    stands against a bundle: DamagedError, IncompleteError, UnsignedError, ForgedError.
    """
    began = time.monotonic()
    if not os.path.isdir(target):
        raise UsageError("is not a folder", where=shown(target), hint="mount the drive, or make the folder")
    meter = Meter(progress)
    problems: list[AirbundleError] = []
    with RawSources(given) as sources:
        sources.require_target(target)
        found = look_over(sources, meter)  # (1)
        wanted = _wanted(found, bundle_id.lower(), ", ".join(map(shown, given)))
        for folder in volumes.volumes_named(target, wanted):
            sources.take_in(folder)
        found = look_over(sources, meter, found)
        stated = found_statements(sources, found, trust)
        wanted.sort(key=lambda one: (not any(document.believed for document in stated.get(one, ())),
                                     one not in stated))  # so that junk takes no room from what is believed
        done = [_rescue_one(sources, found, one, stated.get(one, []), target, trust, meter, problems)
                for one in wanted]
        read = tuple(ReadSource(source.path, source.size, source.holes.total) for source in sources)
    result = RescueResult(read, found.sound, found.unsound, found.crowded, tuple(done), time.monotonic() - began)
    raise_worst(result, problems)
    return result


def _wanted(found: Sightings, prefix: str, where: str) -> list[bytes]:
    there = found.bundles()
    wanted = [one for one in there if one.hex().startswith(prefix)]
    if not there:
        raise DamagedError("no block of any bundle was found", where=where,
                           hint="is it the right drive? what was overwritten or encrypted as a whole cannot be found")
    if not wanted:
        raise UsageError(f"no block of bundle {prefix} was found", where=where,
                         hint="there is: " + ", ".join(one.hex() for one in there[:20]))
    return wanted


def _rescue_one(sources: RawSources, found: Sightings, bundle_id: bytes, documents: list[FoundStatement], target: str,
                trust: TrustSet, meter: Meter, problems: list[AirbundleError]) -> RescuedBundle:
    """Steps 2 to 6 for one bundle. What stands against it is added to `problems`, and ends nothing but this bundle."""
    try:
        return _try_one(sources, found, bundle_id, documents, target, trust, meter, problems)
    except InterruptedRunError:
        raise
    except AirbundleError as error:
        problems.append(error)
        return RescuedBundle(bundle_id.hex(), "given up", None, (), (), 0, 0, (), str(error), error.exit_status)


def _try_one(sources: RawSources, found: Sightings, bundle_id: bytes, documents: list[FoundStatement], target: str,
             trust: TrustSet, meter: Meter, problems: list[AirbundleError]) -> RescuedBundle:
    try:
        bundle = reopened(sources, found, documents, trust)
    except (UnsignedError, ForgedError, DamagedError) as error:
        error.where = f"{error.where}, bundle {bundle_id.hex()}"
        problems.append(error)
        payloads = {document.envelope.payload for document in documents}
        return write_strays(sources, found, bundle_id, target, error, documents[0] if len(payloads) == 1 else None)
    with ExitStack() as stack:
        yard = _Yard(bundle, sources, found, target, trust, meter, stack)
        yard.pass_over(documents)
        yard.assemble_all()
        yard.restore_all()
        yard.finish(documents)
        problem = yard.verdict()
    if problem is not None:
        problems.append(problem)
    return yard.report(problem)


def _folder_name(bundle: Bundle, number: int, count: int) -> str:
    """The name that pack gives, if the label is one: names carry no meaning, and a stranger may have stated it."""
    try:
        return volumes.volume_name(bundle.statement.label, bundle.id, number, count)
    except UsageError:
        return volumes.volume_name(LABEL, bundle.id, number, count)


class _Yard:
    """One bundle on its way back into volumes: what steps 4 to 6 share. Memory is two segments, and a row for each."""

    def __init__(self, bundle: Bundle, sources: RawSources, found: Sightings, target: str, trust: TrustSet,
                 meter: Meter, stack: ExitStack) -> None:
        self._bundle, self._sources, self._found, self._trust, self._meter = bundle, sources, found, trust, meter
        seen = {row.volume for row in bundle.rows if len(found.of(bundle.expected(row).geometry))}
        self._rows = [row for row in bundle.rows if row.volume in seen]
        self._absent = {row.volume for row in bundle.rows} - seen
        self._work, self._helper = (Workspace(bundle.largest_segment(), best_engine()) for _ in range(2))
        self._segments: dict[int, RescuedSegment] = {}
        self._gone: dict[int, Flags | None] = {row.number: None for row in bundle.rows if row.volume not in seen}
        self._passed_over = 0
        self._problem: AirbundleError | None = None
        count = len(bundle.statement.volumes)
        paths = {number: os.path.join(target, _folder_name(bundle, number, count)) for number in sorted(seen)}
        self._require_room(target, paths.values())
        self._volumes: dict[int, VolumeWriter] = {}
        self._readers: dict[int, VolumeReader] = {}
        for number, path in paths.items():
            sources.require_apart(path)
            self._volumes[number] = stack.enter_context(VolumeWriter(path, bundle_id=bundle.id))
            self._readers[number] = stack.enter_context(VolumeReader(path))
            require_right_names(self._readers[number], bundle.id)
            prepare_ends(self._volumes[number], volume_readme(bundle.id, number, count), self._catalog_size)

    def pass_over(self, documents: Sequence[FoundStatement]) -> None:
        """Count the statements of this bundle that were found and not used."""
        payloads = {document.envelope.payload for document in documents} - {self._bundle.statement_raw}
        self._passed_over = len(payloads) + self._found.statements_left_out.get(self._bundle.id, 0)

    def _size(self, row: Row) -> int:
        return self._bundle.expected(row).place.stored_size

    @property
    def _catalog_size(self) -> int:
        return self._size(self._bundle.statement.catalog)

    def _require_room(self, target: str, paths: Collection[str]) -> None:
        require_room(target, sum(map(self._size, self._rows)) + 2 * len(paths) * self._catalog_size,
                     sum(map(volumes.bytes_in, paths)), self._bundle.largest_segment())

    def assemble_all(self) -> None:
        """(4) Each segment by itself; those that had to wait for a preamble from another get it then."""
        self._meter.begin("assembling", sum(map(self._size, self._rows)))
        waiting = []
        for row in self._rows:
            if not self._assemble(row):
                waiting.append(row)
            self._meter.add(self._size(row))
        for row in waiting if self._bundle.segments_preamble is not None else ():
            self._give_preamble(row)

    def _give_preamble(self, row: Row) -> None:
        """Make a segment whole that was written without its preamble; its blocks may lie nowhere else any more."""
        findings, image = check_file(self._work, self._readers[row.volume], volumes.segment_name(row.number),
                                     self._bundle.expected(row))
        if findings.whole:
            self._put(row, image)
            before = self._segments[row.number]
            self._segments[row.number] = replace(before, recovered=before.missing, whole=True)

    def _assemble(self, row: Row) -> bool:
        """Assemble and write one segment; False if all that it lacks is a preamble."""
        self._meter.alive()
        bundle = self._bundle
        done = best_effort(self._work, self._sources, self._found, bundle, row)
        learn_preamble(bundle, row, done)
        findings, sound = done.findings, done.sound
        if not findings.whole:
            self._blank(row, done)
        if findings.whole or sound.any():
            self._put(row, done.image)
        missing = int((~sound).sum())
        back = missing if findings.whole else max(0, int((~sound[self._coded(done)]).sum()) - findings.lost)
        self._segments[row.number] = RescuedSegment(
            row.number, row.volume, len(sound), len(sound) - missing, missing, back, done.candidates.conflicting,
            findings.whole)
        if findings.lost:
            self._gone[row.number] = findings.gone
        return findings.whole or findings.lost > 0

    @staticmethod
    def _coded(done: Assembled) -> slice:
        place = done.image.place
        return slice(place.data_at, place.data_at + place.geometry.coded_blocks)

    def _blank(self, row: Row, done: Assembled) -> None:
        """Where nothing is known to be right, what is there already, or zeros: nothing is made up."""
        image = done.image
        known = done.sound.copy()
        if done.findings.leaves is not None:
            known[self._coded(done)] = ~done.findings.gone
            for at in image.place.lists_at:
                known[at:at + image.place.geometry.list_blocks] = True
        expected = self._bundle.expected(row)
        keep_there(image, known, self._readers[row.volume], volumes.segment_name(row.number), expected,
                   done.findings.leaves, self._helper)

    def _put(self, row: Row, image: Image) -> None:
        """Write a segment, unless it is there already."""
        name = volumes.segment_name(row.number)
        if not holds_image(self._volumes[row.volume], self._work, name, image):
            put_image(self._volumes[row.volume], name, image, self._work)
        self._bundle.segments[row.number] = [(self._readers[row.volume], name)]

    def restore_all(self) -> None:
        """(5) What its own blocks did not give, from the files of the other members that were just written."""
        lacking = [row for row in self._rows if not self._segments[row.number].whole]
        if not lacking or self._bundle.segments_preamble is None:  # a segment is not written without it
            return
        bundle = self._bundle
        bundle.volumes = tuple(self._readers.values())
        self._meter.begin("restoring", sum(map(self._size, lacking)))
        for row in lacking:
            image = None
            with suppress(DamagedError):
                if Restorer(bundle, bundle.groups[row.group]).restore(row, self._work, self._helper):
                    image = self._work.image
            if image is not None:
                self._put(row, image)
                before = self._segments[row.number]
                self._segments[row.number] = replace(before, recovered=before.missing, whole=True, from_group=True)
                self._gone.pop(row.number, None)
            self._meter.add(self._size(row))

    def finish(self, documents: Sequence[FoundStatement]) -> None:
        """(6) Catalogs and statement, each durable before the next."""
        bundle = self._bundle
        if bundle.preamble_raw is None:  # K-7: without it a catalog cannot be written as it was
            return
        same = [document for document in documents if document.envelope.payload == bundle.statement_raw]
        readers = tuple(self._readers.values())
        stated = {reader.path: read_statements(reader) for reader in readers}
        copies = [copy for there in stated.values() for copy in there]  # T-8: the signatures that are there stay there
        copies += [StatementCopy(reader, volumes.RECORD_NAME, document.raw, document.envelope, "")
                   for reader in readers for document in same]
        exact = documents_of(readers, copies, bundle.statement_raw, self._trust, bundle.suite,
                             bytes.fromhex(bundle.statement.packer))
        catalog = rebuilt_catalog(bundle, self._work).blocks.tobytes()
        for number, volume in self._volumes.items():
            reader = self._readers[number]
            there = [copy.envelope for copy in stated[reader.path] if copy.envelope is not None]
            if newer := self._newer(there):
                self._problem = DamagedError(
                    f"revision {newer} lies there, of which no catalog can be put together", where=shown(volume.path),
                    rule="T-7", hint="take its catalog from the packer's machine: verify and repair --sidecar DIR")
                volume.sync()
            elif there:  # T-9
                replace_ends(volume, catalog, exact[reader.path], bundle.suite)
                volume.discard_leftovers()
                volume.sync()
            else:
                write_ends([(volume, ())], catalog=catalog, document=exact[reader.path], suite=bundle.suite)

    def _newer(self, there: Sequence[Envelope]) -> int:
        """A revision above ours that a volume in the target states, as credibly as ours; 0 if none does (T-7)."""
        ours = self._bundle
        ranked = rank_statements(there, self._trust, "")
        return max((one.statement.revision for one in ranked if one.statement.revision > ours.statement.revision
                    and (one.judgement is not None or ours.judgement is None)), default=0)

    def verdict(self) -> AirbundleError | None:
        """What stands between this and a whole bundle, if anything does."""
        bundle = self._bundle
        open_rows = [row.number for row, comes_back in counted_back(bundle, self._gone) if not comes_back]
        short = [number for number, segment in self._segments.items() if not segment.whole]
        where = f"bundle {bundle.statement.bundle}"
        if bundle.preamble_raw is None:
            return DamagedError("no preamble can be put together", where=where, rule="K-7")
        missing = sorted({*open_rows, *short})
        if not missing:
            return self._problem
        what = f"{len(missing)} of {len(bundle.rows)} segments are not whole"
        if self._absent:
            absent = "; ".join(describe_volumes(bundle, self._absent))
            return IncompleteError(what, where=where, hint=f"give these too: {absent}")
        return DamagedError(f"{what}: {', '.join(map(volumes.segment_name, missing[:10]))}", where=where, rule="G-9",
                            hint="give another copy of the drive as one more SOURCE, or map files of its holes")

    def report(self, problem: AirbundleError | None) -> RescuedBundle:
        """What was done, as a value."""
        bundle = self._bundle
        ours = {bundle.expected(row).geometry.packed() for row in (*bundle.rows, bundle.statement.catalog)}
        stale = [count for geometry, count in self._found.attempts(bundle.id) if geometry.packed() not in ours]
        belief = f"signed by {bundle.believed_by}" if bundle.distrust is None else f"NOT believed: {belief_of(bundle)}"
        return RescuedBundle(
            bundle=bundle.statement.bundle, statement=belief, revision=bundle.statement.revision,
            volumes=tuple(volume.path for volume in self._volumes.values()),
            segments=tuple(self._segments[row.number] for row in self._rows), stale=len(stale),
            stale_blocks=sum(stale), absent=describe_volumes(bundle, self._absent),
            problem=str(problem) if problem else "", exit_status=problem.exit_status if problem else 0,
            belief=belief_of(bundle), passed_over=self._passed_over)
