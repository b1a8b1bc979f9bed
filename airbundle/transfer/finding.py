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
from airbundle.transfer.statements import read_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIDECAR_HINT: Final = (f"give a folder with {volumes.STATEMENT_NAME} and {volumes.CATALOG_NAME}, as the packer's "
                        "machine keeps it")


def open_volumes(paths: Sequence[str], bundle_id: str = "") -> tuple[VolumeReader, ...]:
    """(1) The volumes at `paths`. Raises UsageError if there is none, or several bundles and no `bundle_id`."""
    found: dict[str, str] = {}
    for path in paths:
        for folder in volumes.find_volumes(path):
            found.setdefault(os.path.realpath(folder), folder)
    if not found:
        raise UsageError("no volume here", where=", ".join(paths),
                         hint="give a folder that ends in .airbundle, or one that holds it")
    readers = [volumes.VolumeReader(folder) for folder in found.values()]
    try:
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
    """The volumes of the one bundle that is here or wanted. What a stopped pack left behind is no bundle yet (V-4)."""
    stated = {reader: _stated_bundles(reader) for reader in readers}
    claimed = stated if any(stated.values()) else {reader: _held_bundles(reader) for reader in readers}
    ids = {claim for claims in claimed.values() for claim in claims if claim.startswith(wanted)}
    if wanted and not ids:
        there = sorted({claim for claims in claimed.values() for claim in claims})
        raise UsageError(f"no volume of bundle {wanted} here", where=where,
                         hint="there is: " + (", ".join(there) or "nothing that can be read"))
    if len(ids) > 1:
        raise UsageError(f"volumes of {len(ids)} bundles here", where=where,
                         hint="say which with --bundle: " + ", ".join(sorted(ids)))
    if not ids:
        return tuple(readers)
    return tuple(reader for reader in readers if ids & (claimed[reader] or _held_bundles(reader)))


def _stated_bundles(reader: VolumeReader) -> set[str]:
    """Bundle ids that the volume's statements claim; its blocks decide where they differ, and before strays."""
    stated, strays = set(), False
    for copy in read_statements(reader):
        if copy.envelope is not None:
            strays |= copy.name not in volumes.STATEMENTS
            with contextlib.suppress(FormatError):
                stated.add(parse_statement(copy.envelope.payload).bundle)
    if len(stated) > 1 or strays:
        held = _held_bundles(reader)
        return stated & held or (held if strays else stated) or stated
    return stated


def _held_bundles(reader: VolumeReader) -> set[str]:
    """Bundle ids that the volume's blocks claim."""
    return {claim.geometry.bundle.hex() for name in reader.listing().files for claim in claims_of(reader, name)
            if claim.sound}
