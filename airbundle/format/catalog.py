"""The catalog: a public table of segments and the sealed manifest, in one body (spec chapter 8)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.encoding import Hex16, HexDigest, Int53
from airbundle.format.geometry import Geometry

if TYPE_CHECKING:
    from typing_extensions import Buffer

DATA: Final = "data"
CATALOG: Final = "catalog"
_LENGTH: Final = struct.Struct("<Q")


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
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


def row_of(geometry: Geometry, *, role: str, volume: int, root: bytes) -> Row:
    """The row for a finished segment."""
    return Row(geometry.number, role, 0, 0, volume, geometry.k, geometry.m, geometry.stripes, geometry.block_size,
               geometry.body, geometry.salt.hex(), root.hex())


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public part."""

    rows: Annotated[tuple[Row, ...], msgspec.Meta(max_length=limits.ROWS_MAX)]


def write_table(rows: tuple[Row, ...]) -> bytes:
    """The JSON of the table."""
    return encoding.encode(Table(rows))


def parse_table(raw: bytes, *, catalog_number: int) -> tuple[Row, ...]:
    """Parse the table of a catalog whose own number is `catalog_number` (G-1, L-2). Raises FormatError."""
    rows = encoding.decode(raw, Table, limit=limits.TABLE_MAX, rule="L-2").rows
    if len(rows) != catalog_number:
        raise FormatError(f"the table has {len(rows)} rows, not {catalog_number}", rule="G-1")
    for number, row in enumerate(rows):
        if row.number != number or row.role != DATA or row.group or row.position or not row.volume:
            raise FormatError(f"row {number} of the table is out of order or of an unknown role", rule="G-1")
    return rows


def write_body(table: bytes, sealed_manifest: bytes) -> bytes:
    """The body of the catalog without its padding."""
    return b"".join((_LENGTH.pack(len(table)), table, _LENGTH.pack(len(sealed_manifest)), sealed_manifest))


def parse_body(body: Buffer) -> tuple[bytes, memoryview]:
    """Split a body that was checked against its signed root into table and sealed manifest. Raises FormatError."""
    view = memoryview(body)
    table, rest = _cut(view, limits.TABLE_MAX, "L-2")
    sealed, padding = _cut(rest, limits.MANIFEST_MAX + limits.MANIFEST_MAX // 1024, "L-3")
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
