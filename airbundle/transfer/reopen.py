"""Open a bundle from what lies about on raw sources: the statement that fits best, and its catalog (steps 2 and 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.crypto.suites import suite_by_name
from airbundle.errors import DamagedError, UnsignedError
from airbundle.format import limits
from airbundle.transfer.assemble import Assembled, assemble, fits_root
from airbundle.transfer.open import Bundle, body_of, take_catalog
from airbundle.transfer.pieces import mend
from airbundle.transfer.statements import Believed, rank_statements
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.catalog import Row
    from airbundle.media.raw import RawSources
    from airbundle.transfer.scan import Sightings
    from airbundle.transfer.stated import FoundStatement


def reopened(sources: RawSources, sightings: Sightings, documents: Sequence[FoundStatement],
             trust: TrustSet) -> Bundle:
    """The bundle that `documents` state: the believed one of the highest revision whose catalog can be had (T-7).

    Where nobody here vouches for any, the one most of whose roots fit what was found, and of several such the one whose
    rows name most blocks: salts and geometries anyone can copy. Raises UnsignedError
    without a statement, ForgedError (T-4), DamagedError without a catalog.
    """
    ranked = rank_statements([document.envelope for document in documents], trust, sources[0].path)
    if not ranked:
        raise UnsignedError("no statement of it was found", where=sources[0].path, rule="T-1",
                            hint="take it from the packer's machine: verify and repair --sidecar DIR")
    failure: DamagedError | None = None
    best: tuple[tuple[int, int], Bundle] | None = None
    for one in ranked:
        try:
            bundle = _with_catalog(sources, sightings, one)
        except DamagedError as error:
            failure = failure or error
            continue
        if one.judgement is not None:
            return bundle
        rank = _rank(sources, sightings, bundle) if len(ranked) > 1 else (0, 0)
        if best is None or rank > best[0]:
            best = rank, bundle
    if best is None:
        assert failure is not None
        raise failure
    return best[1]


def _rank(sources: RawSources, sightings: Sightings, bundle: Bundle) -> tuple[int, int]:
    """How well a catalog fits: roots of rows that do, of so many rows, and sound blocks that its rows name."""
    step = -(-len(bundle.rows) // limits.ROOTS_TRIED_MAX) or 1
    fitting = sum(fits_root(sources, sightings, bundle.expected(row)) for row in bundle.rows[::step])
    return fitting, sum(sightings.sound_blocks(bundle.expected(row).geometry) for row in bundle.rows)


def _with_catalog(sources: RawSources, sightings: Sightings, one: Believed) -> Bundle:
    bundle = Bundle(volumes=(), suite=suite_by_name(one.statement.suite), statement=one.statement,
                    statement_raw=one.payload, documents={}, judgement=one.judgement, distrust=one.distrust, copies=())
    row = one.statement.catalog
    work = Workspace(bundle.expected(row).place.stored_size)
    done = best_effort(work, sources, sightings, bundle, row)
    if done.findings.lost:
        raise DamagedError("no copy of its catalog can be put together", where=sources[0].path, rule="G-2",
                           hint="take it from the packer's machine: verify and repair --sidecar DIR")
    take_catalog(bundle, body_of(done.image))
    learn_preamble(bundle, row, done)
    return bundle


def best_effort(work: Workspace, sources: RawSources, sightings: Sightings, bundle: Bundle, row: Row) -> Assembled:
    """One segment of a bundle from all that was found of it. Raises MediumError only if a device is gone."""
    expected = bundle.expected(row)
    done = assemble(work, sources, sightings, expected)
    if done.findings.lost and len(done.candidates):
        done = mend(work, sources, done, expected)
    return done


def learn_preamble(bundle: Bundle, row: Row, done: Assembled) -> None:
    """Keep the preamble that a segment gave; catalog and segments have the same where envelopes never changed (K-7)."""
    if done.findings.preamble is None:
        return
    same = bundle.statement.envelopes == bundle.statement.preamble
    if same or row is bundle.statement.catalog:
        bundle.preamble_raw = bundle.preamble_raw or done.findings.preamble
    if same or row is not bundle.statement.catalog:
        bundle.segments_preamble = bundle.segments_preamble or done.findings.preamble
