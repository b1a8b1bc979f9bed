"""The catalog: a public table of segments and the sealed manifest, in one body (spec chapter 8)."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.encoding import Hex16, HexDigest, Int53
from airbundle.format.geometry import Geometry
from airbundle.format.segment import TAG_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

DATA: Final = "data"
PARITY: Final = "parity"
CATALOG: Final = "catalog"
_LENGTH: Final = struct.Struct("<Q")


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One segment: where it belongs, its geometry, its root."""

    number: Int53
    role: str
    group: Int53
    position: Int53
    volume: Int53
    k: Int53
    m: Int53
    stripes: Int53
    block_size: Int53
    body: Int53
    salt: Hex16
    root: HexDigest

    def geometry(self, *, suite: int, digest_size: int, bundle: bytes) -> Geometry:
        """The geometry that this row signs; checks B-1 to B-3. Raises FormatError."""
        return Geometry(suite=suite, digest_size=digest_size, k=self.k, m=self.m, stripes=self.stripes,
                        block_size=self.block_size, bundle=bundle, number=self.number,
                        salt=bytes.fromhex(self.salt), body=self.body)


def row_of(geometry: Geometry, *, role: str, volume: int, root: bytes, group: int = 0,
           position: int = 0) -> Row:
    """The row for a finished segment."""
    return Row(geometry.number, role, group, position, volume, geometry.k, geometry.m, geometry.stripes,
               geometry.block_size, geometry.body, geometry.salt.hex(), root.hex())


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public part."""

    rows: Annotated[tuple[Row, ...], msgspec.Meta(max_length=limits.ROWS_MAX)]


def write_table(rows: tuple[Row, ...]) -> bytes:
    """The JSON of the table."""
    return encoding.encode(Table(rows))


def parse_table(raw: bytes, *, catalog_number: int, volumes: int = limits.VOLUMES_MAX) -> tuple[Row, ...]:
    """Parse the table of a catalog whose own number is `catalog_number` (G-1, L-2), of so many `volumes`.

    Raises FormatError.
    """
    rows = encoding.decode(raw, Table, limit=limits.TABLE_MAX, rule="L-2").rows
    if len(rows) != catalog_number:
        raise FormatError(f"the table has {len(rows)} rows, not {catalog_number}", rule="G-1")
    for number, row in enumerate(rows):
        if row.number != number or row.role not in {DATA, PARITY} or not 1 <= row.volume <= volumes:
            raise FormatError(f"row {number} of the table is out of order, or of an unknown role or volume", rule="G-1")
    groups_of(rows)
    return rows


@dataclass(frozen=True, slots=True)
class Group:
    """Segments that are coded together: rows of the `k` data members, then of the `m` parity members (G-6)."""

    data: tuple[Row, ...]
    parity: tuple[Row, ...]

    @property
    def members(self) -> tuple[Row, ...]:
        """All of them, in order of their positions."""
        return self.data + self.parity


def groups_of(rows: tuple[Row, ...]) -> tuple[Group, ...]:
    """The groups of a table. Raises FormatError where it breaks G-6."""
    data, parity = (
        {group: tuple(part) for group, part in itertools.groupby(some, key=lambda row: row.group)}
        for some in ([row for row in rows if row.role == role] for role in (DATA, PARITY)))
    in_order = [row.role for row in rows] == sorted((row.role for row in rows), key=(DATA, PARITY).index)
    if not in_order or list(data) != list(range(len(data))) or list(parity) != list(data):
        raise FormatError("the groups of the table are out of order", rule="G-6")
    groups = tuple(Group(data[number], parity[number]) for number in data)
    for number, group in enumerate(groups):
        if [row.position for row in group.members] != list(range(len(group.members))):
            raise FormatError(f"the positions of group {number} are out of order", rule="G-6")
        if len(group.members) > limits.GROUP_MAX:
            raise FormatError(f"group {number} has {len(group.members)} members", rule="G-6")
        longest = max(row.body for row in group.data)
        if len({row.block_size for row in group.members}) != 1 or any(row.body != longest for row in group.parity):
            raise FormatError(f"the members of group {number} do not fit together", rule="G-6")
    return groups


def write_body(table: bytes, sealed_manifest: bytes) -> bytes:
    """The body of the catalog without its padding."""
    return b"".join((_LENGTH.pack(len(table)), table, _LENGTH.pack(len(sealed_manifest)), sealed_manifest))


def parse_body(body: Buffer) -> tuple[bytes, memoryview]:
    """Split a body, checked against its signed root (G-2), into table and sealed manifest. Raises FormatError."""
    view = memoryview(body)
    table, rest = _cut(view, limits.TABLE_MAX, "L-2")
    sealed, padding = _cut(rest, limits.MANIFEST_MAX + limits.MANIFEST_MAX // limits.SEALED_PIECE * TAG_SIZE, "L-3")
    if bytes(padding).strip(b"\0"):
        raise FormatError("bytes behind the sealed manifest", rule="G-2")
    return bytes(table), sealed


def _cut(view: memoryview, limit: int, rule: str) -> tuple[memoryview, memoryview]:
    if len(view) < _LENGTH.size:
        raise FormatError("the catalog's body is too short", rule=rule)
    length = _LENGTH.unpack_from(view)[0]
    rest = view[_LENGTH.size:]
    if length > limit or length > len(rest):
        raise FormatError(f"a length of {length} bytes in the catalog's body", rule=rule)
    return rest[:length], rest[length:]
