"""The statement: the small signed document that binds everything of a bundle (spec chapter 9)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.catalog import CATALOG, Row
from airbundle.format.encoding import Hex16, HexDigest, Int53
from airbundle.format.names import check_public_text

_SHORT: Final = 16  # characters, of at most 4 bytes each
STATEMENT_TYPE: Final = "application/vnd.airbundle.statement.v1+json"


class PreambleRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Length in bytes and hash of a preamble."""

    length: Annotated[int, msgspec.Meta(ge=1, le=limits.PREAMBLE_MAX)]
    hash: HexDigest


class VolumeRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One volume: number from 1, file-system label and size of its medium in bytes, serial number if recorded."""

    number: Int53
    name: str
    size: Int53
    serial: str | None


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload. `created` and `expires` are seconds since 1970-01-01T00:00:00Z.

    `preamble` is the one that lies in the data segments, `envelopes` the one that lies in the catalog and holds.
    """

    airbundle: Literal[1]
    bundle: Hex16
    suite: str
    packer: HexDigest
    revision: Int53
    created: Int53
    expires: Int53 | None
    series: str | None
    sequence: Int53 | None
    label: str
    marking: str
    preamble: PreambleRef
    envelopes: PreambleRef
    catalog: Row
    volumes: Annotated[tuple[VolumeRow, ...], msgspec.Meta(min_length=1, max_length=limits.VOLUMES_MAX)]
    lose: Annotated[int, msgspec.Meta(ge=0, le=limits.LOSE_MAX)]
    base: None
    writer: str


def write_statement(statement: Statement) -> bytes:
    """The JSON of the payload, after the same checks that a reader makes. Raises FormatError."""
    _check(statement)
    raw = encoding.encode(statement)
    if len(raw) > limits.STATEMENT_PAYLOAD_MAX:
        raise FormatError(f"a payload has {len(raw)} bytes", rule="L-5")
    return raw


def shortened(volumes: tuple[VolumeRow, ...]) -> tuple[VolumeRow, ...]:
    """The rows with names and serial numbers cut, if they would fill half of the statement: they are advice (T-5)."""
    if sum(len(f"{row.name}{row.serial or ''}".encode()) for row in volumes) <= limits.STATEMENT_PAYLOAD_MAX // 2:
        return volumes
    return tuple(msgspec.structs.replace(row, name=row.name[:_SHORT], serial=row.serial and row.serial[:_SHORT])
                 for row in volumes)


def parse_statement(raw: bytes) -> Statement:
    """Parse a payload (T-5, L-5, E-4). Raises FormatError. Says nothing about who signed it."""
    statement = encoding.decode(raw, Statement, limit=limits.STATEMENT_PAYLOAD_MAX, rule="L-5")
    _check(statement)
    return statement


def _check(statement: Statement) -> None:
    texts = [statement.label, statement.marking, statement.writer]
    texts += [text for volume in statement.volumes for text in (volume.name, volume.serial) if text is not None]
    if statement.series is not None:
        texts.append(statement.series)
    for text in texts:
        check_public_text(text)
    if (statement.series is None) != (statement.sequence is None):
        raise FormatError("series and sequence go together", rule="T-5")
    if [volume.number for volume in statement.volumes] != list(range(1, len(statement.volumes) + 1)):
        raise FormatError("the volumes are not numbered from 1", rule="T-5")
    if statement.lose and statement.lose >= len(statement.volumes):
        raise FormatError(f"{statement.lose} of {len(statement.volumes)} volumes may be lost", rule="T-6")
    alike = statement.revision == 0 or statement.envelopes.hash == statement.preamble.hash
    if alike and statement.envelopes != statement.preamble:
        raise FormatError("a statement names two preambles that have to be one", rule="G-10")
    if statement.catalog.role != CATALOG:
        raise FormatError("the catalog's row has another role", rule="T-5")
    if statement.catalog.group or statement.catalog.position or statement.catalog.volume:
        raise FormatError("the catalog's row names a group or a volume", rule="G-1")
