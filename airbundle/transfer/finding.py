"""Find the volumes of one bundle, and read what is there of its statement (V-2).

Nothing is believed here: ids are claims, and only keep the volumes of different bundles apart.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from airbundle.errors import FormatError, UsageError
from airbundle.format.statement import parse_statement
from airbundle.media import volume as volumes
from airbundle.media.volume import VolumeReader
from airbundle.transfer.claims import claims_of
from airbundle.transfer.statements import read_statement, read_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.transfer.statements import StatementCopy

_SIDECAR_HINT: Final = (f"give a folder with {volumes.STATEMENT_NAME} and {volumes.CATALOG_NAME}, as the packer's "
                        "machine keeps it")


def open_volumes(paths: Sequence[str], bundle_id: str = "") -> tuple[VolumeReader, ...]:
    """(1) The volumes at `paths`, each once.

    Raises UsageError if there is none, or several bundles and no `bundle_id`, FormatError for a folder of too many
    entries (L-6), of which nothing is read.
    """
    found: dict[str, str] = {}
    for path in paths:
        volumes.require_folder(path)
    for path in paths:
        for folder in volumes.find_volumes(path):
            found.setdefault(os.path.realpath(folder), folder)
    if not found:
        raise UsageError("no volume here", where=", ".join(paths),
                         hint="give a folder that ends in .airbundle, or one that holds it")
    readers = [volumes.VolumeReader(folder) for folder in found.values()]
    try:
        for reader in readers:
            reader.listing()
        chosen = _one_bundle(readers, bundle_id.lower(), ", ".join(paths))
    except BaseException:
        chosen = ()
        raise
    finally:
        for reader in readers:
            if reader not in chosen:
                reader.close()
    return chosen


def bundles_at(path: str) -> dict[str, list[str]]:
    """The folders of volumes at `path` by the bundle that they claim to be of; '' where nothing tells.

    Raises UsageError, FormatError, MediumError.
    """
    found: dict[str, list[str]] = {}
    for folder in volumes.find_volumes(path):
        with contextlib.closing(VolumeReader(folder)) as reader:
            claims = _stated_bundles(reader) or _held_bundles(reader)
        for claim in claims or {""}:
            found.setdefault(claim, []).append(folder)
    return found


def open_sidecar(path: str, readers: Sequence[VolumeReader]) -> VolumeReader:
    """A folder beside the volumes that holds a copy of their statement, of their catalog, or of both.

    Raises UsageError if there is none, or if what is there is of another bundle.
    """
    if not os.path.isdir(path):
        raise UsageError("it is not a folder", where=path, hint=_SIDECAR_HINT)
    sidecar = VolumeReader(path)
    try:
        _require_beside(sidecar, readers)
    except BaseException:
        sidecar.close()
        raise
    return sidecar


def _require_beside(sidecar: VolumeReader, readers: Sequence[VolumeReader]) -> None:
    ours = set().union(*(_stated_bundles(reader) | _held_bundles(reader) for reader in readers))
    theirs = _stated_bundles(sidecar) | _held_bundles(sidecar)
    if not theirs:
        raise UsageError("no statement and no catalog here", where=sidecar.path, hint=_SIDECAR_HINT)
    if ours and not ours & theirs:
        raise UsageError(f"the sidecar is of bundle {', '.join(sorted(theirs))}", where=sidecar.path,
                         hint=f"the volumes are of {', '.join(sorted(ours))}")


def _one_bundle(readers: list[VolumeReader], wanted: str, where: str) -> tuple[VolumeReader, ...]:
    """The volumes of the one bundle that is here or wanted (D-7), with those that a later step may leave out.

    What a stopped pack left behind is no bundle yet (V-4): blocks only tell where no folder has a statement.
    """
    alone = len(readers) == 1 and not wanted  # then the first name is enough: a record may take long to read
    named = {reader: _named_bundles(reader, first=alone) for reader in readers}
    if alone and named[readers[0]]:
        return tuple(readers)
    stated = [ids for ids in named.values() if ids]
    claimed = stated or [_held_bundles(reader) for reader in readers]
    there = set().union(*claimed)
    ids = {claim for claim in there if claim.startswith(wanted)}
    if wanted and not ids:  # D-7: a folder without a statement that can be read has its blocks to say it
        there |= set().union(*(_held_bundles(reader) for reader in readers if not named[reader]))
        ids = {claim for claim in there if claim.startswith(wanted)}
    if wanted and not ids:
        raise UsageError(f"no volume of bundle {wanted} here", where=where,
                         hint="there is: " + (", ".join(sorted(there)) or "nothing that can be read"))
    several = len(ids) > 1 and (wanted or not stated or not set.intersection(*stated))
    if several:
        raise UsageError(f"volumes of {len(ids)} bundles here", where=where, rule="D-7",
                         hint="say which with --bundle: " + ", ".join(sorted(ids)))
    if not ids or all(ids & found for found in named.values()):
        return tuple(readers)
    held = {reader: _held_bundles(reader) for reader in readers}
    perhaps = ids.union(*(held[reader] for reader in readers if named[reader] & ids)) if not wanted else ids
    return tuple(reader for reader in readers if perhaps & (named[reader] or held[reader]))


def holds_some(reader: VolumeReader, copies: Sequence[StatementCopy], bundle: str) -> bool:
    """Whether something of the bundle lies in a folder: a copy of its statement, or a block that says so (D-7)."""
    stated = any(copy.volume is reader and _bundle_of(copy) == bundle for copy in copies)
    return stated or bundle in _held_bundles(reader)


def _named_bundles(reader: VolumeReader, *, first: bool = False) -> set[str]:
    """Bundle ids that the statements under their own names say; with `first` those of the first that says one."""
    found: set[str] = set()
    for name in volumes.STATEMENTS:
        found |= {_bundle_of(read_statement(reader, name))} - {""}
        if first and found:
            break
    return found


def _bundle_of(copy: StatementCopy) -> str:
    """The bundle id that a copy of a statement says; nothing if it is malformed."""
    with contextlib.suppress(FormatError):
        return parse_statement(copy.envelope.payload).bundle if copy.envelope is not None else ""
    return ""


def _stated_bundles(reader: VolumeReader) -> set[str]:
    """Bundle ids that the volume's statements claim; its blocks decide where they differ, and before strays."""
    stated, strays = set(), False
    for copy in read_statements(reader):
        if copy.envelope is not None:
            strays |= copy.name not in volumes.STATEMENTS
            stated |= {_bundle_of(copy)} - {""}
    if len(stated) > 1 or strays:
        held = _held_bundles(reader)
        return stated & held or (held if strays else stated) or stated
    return stated


def _held_bundles(reader: VolumeReader) -> set[str]:
    """Bundle ids that the volume's blocks claim."""
    return {claim.geometry.bundle.hex() for name in reader.listing().files for claim in claims_of(reader, name)
            if claim.sound}
