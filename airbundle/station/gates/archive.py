"""Zip archives as torch writes them, read from their end, with no byte that two readers could take differently.

Entries lie one after another from the archive's first byte to its directory, stored as they are; each local header
says what the directory says; nothing is in front, between or behind. A shard of a distributed checkpoint is several
such archives in a row, each with offsets of its own. Checksums are not compared: the bundle's were.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.station.gates.result import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.station.gates.window import Window

_END: Final = struct.Struct("<4s4H2IH")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_DESCRIBED: Final = 0x0008
_FLAGS: Final = frozenset({0, _DESCRIBED, 0x0800, 0x0800 | _DESCRIBED})
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFF_FFFF
_EXTRA_64, _EXTRA_PADDING = 0x0001, 0x4246  # "FB", by which torch lays storages at multiples of 64
_DIRECTORY_MAX: Final = 64 << 20
_ENTRIES_MAX: Final = 262_144
_NAME_MAX: Final = 1024
_VERSION_MAX: Final = 45


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One file in an archive: where its bytes are in the file that holds the archive."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive: its place in the file, and what is in it."""

    begin: int
    end: int
    entries: tuple[ArchiveEntry, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the directory; `header` counts from the begin of the archive."""

    name: bytes
    flags: int
    crc: int
    size: int
    header: int


def archives(window: Window) -> Iterator[Archive]:
    """The archives of a file, the last one first, which cover it without a gap. Refused for everything else."""
    end = window.size
    while end > 0:
        archive = _archive_at(window, end)
        yield archive
        end = archive.begin


def require_no_archive(window: Window) -> None:
    """Refuse a file that ends like an archive: many readers look for one from the end, whatever is in front."""
    begin = max(0, window.size - _END.size - _FULL_16)
    tail = b"".join(window.pieces(begin, window.size))
    at = tail.find(b"PK\5\6")
    while at >= 0:
        if len(tail) - at >= _END.size and _END.unpack_from(tail, at)[-1] == len(tail) - at - _END.size:
            raise RefusalError(f"the end of a zip archive at {begin + at} of a file that is none")
        at = tail.find(b"PK\5\6", at + 1)


def _archive_at(window: Window, end: int) -> Archive:
    count, size, offset, directory_end = _read_end(window, end)
    directory = directory_end - size
    begin = directory - offset
    if size > _DIRECTORY_MAX or count > _ENTRIES_MAX:
        raise RefusalError(f"an archive with {count} entries, or a directory of {size} bytes")
    if begin < 0:
        raise RefusalError("the directory of an archive does not lie where its end says")
    rows = sorted(_rows(b"".join(window.pieces(directory, directory_end)), count), key=lambda row: row.header)
    entries = []
    position = begin
    for row in rows:
        if begin + row.header != position:
            raise RefusalError(f"a gap or an overlap in front of entry {ascii(row.name)[1:80]}")
        entry, position = _entry(window, row, position)
        entries.append(entry)
    if position != directory:
        raise RefusalError("a gap in front of an archive's directory")
    names = [entry.name.lower() for entry in entries]  # torch looks names up without regard to case
    if len(set(names)) != len(names):
        raise RefusalError("an archive has two entries with one name")
    return Archive(begin, end, tuple(entries))


def _read_end(window: Window, end: int) -> tuple[int, int, int, int]:
    """Number of entries, size and offset of the directory, and where the directory ends."""
    at = end - _END.size
    if at < 0:
        raise RefusalError("too short for an archive")
    magic, disk, first, here, count, size, offset, comment = _END.unpack(window.read(at, _END.size))
    if magic != b"PK\5\6" or comment or disk or first or here != count:
        raise RefusalError("an archive does not end with the end of a directory, or has a comment or parts")
    place = at - _LOCATOR.size
    locator = window.read(place, _LOCATOR.size) if place >= 0 else b""
    if locator[:4] != b"PK\6\7":
        if count == _FULL_16 or _FULL_32 in {size, offset}:
            raise RefusalError("an archive has no 64-bit end of its directory")
        return count, size, offset, at
    _, disk, offset_64, disks = _LOCATOR.unpack(locator)
    place -= _END_64.size
    row = _END_64.unpack(window.read(place, _END_64.size))
    magic, length, _, _, this, first, here, count_64, size_64, directory = row
    if magic != b"PK\6\6" or length != _END_64.size - 12 or disk or disks != 1 or this or first or here != count_64:
        raise RefusalError("the 64-bit end of an archive's directory is not as it should be")
    for short, full, none in ((count, count_64, _FULL_16), (size, size_64, _FULL_32), (offset, directory, _FULL_32)):
        if short not in {full, none}:
            raise RefusalError("the two ends of an archive's directory disagree")
    if directory + size_64 != offset_64:
        raise RefusalError("a gap between an archive's directory and its end")
    return count_64, size_64, directory, place


def _rows(raw: bytes, count: int) -> Iterator[_Row]:
    position = 0
    for _ in range(count):
        fixed = raw[position : position + _CENTRAL.size]
        if len(fixed) != _CENTRAL.size or fixed[:4] != b"PK\1\2":
            raise RefusalError("a directory has fewer rows than its archive says")
        (_, _, needed, flags, method, _, _, crc, stored, size, name_length, extra_length, comment, disk, _, attributes,
         header) = _CENTRAL.unpack(fixed)
        position += _CENTRAL.size
        name = raw[position : position + name_length]
        extra = _extras(raw[position + name_length : position + name_length + extra_length])
        position += name_length + extra_length
        size, stored, header = _widened(extra.get(_EXTRA_64, b""), size, stored, header)
        if comment or disk or attributes >> 28 not in {0, 8} or extra.keys() - {_EXTRA_64}:
            raise RefusalError("an entry of an archive is a link, has a comment, or what else torch never writes")
        if method or stored != size:
            raise RefusalError("an entry of an archive is compressed")
        if flags not in _FLAGS or needed > _VERSION_MAX:
            raise RefusalError(f"an entry is encrypted, or has flags {flags:#x} or version {needed}")
        yield _Row(name, flags, crc, size, header)
    if position != len(raw):
        raise RefusalError("a directory has more in it than its rows")


def _extras(raw: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while raw:
        length = int.from_bytes(raw[2:4], "little")
        kind = int.from_bytes(raw[:2], "little")
        if len(raw) < 4 + length or kind in found:
            raise RefusalError("an extra field of an archive is cut off, or there twice")
        found[kind] = raw[4 : 4 + length]
        raw = raw[4 + length :]
    return found


def _widened(extra: bytes, *values: int) -> tuple[int, ...]:
    """Values of 32 bits, those that are full replaced in order by 64 bits of the extra field."""
    wide = []
    for value in values:
        if value == _FULL_32:
            if len(extra) < 8:
                raise RefusalError("an entry of an archive has no 64-bit size")
            value, extra = int.from_bytes(extra[:8], "little"), extra[8:]  # noqa: PLW2901 - the wider one counts
        wide.append(value)
    if extra:
        raise RefusalError("an entry of an archive has more 64-bit fields than it needs")
    return tuple(wide)


def _entry(window: Window, row: _Row, position: int) -> tuple[ArchiveEntry, int]:
    """The entry whose local header is at `position`, and where the next one begins."""
    fields = _LOCAL.unpack(window.read(position, _LOCAL.size))
    magic, _, flags, method, _, _, crc, stored, size, name_length, extra_length = fields
    if magic != b"PK\3\4" or flags != row.flags or method or name_length != len(row.name):
        raise RefusalError(f"the header of entry {ascii(row.name)[1:80]} disagrees with the directory")
    rest = window.read(position + _LOCAL.size, name_length + extra_length)
    extra = _extras(rest[name_length:])
    wide = extra.pop(_EXTRA_64, b"")
    padding = extra.pop(_EXTRA_PADDING, b"")
    described = bool(flags & _DESCRIBED)
    if described and not crc and {size, stored} <= {0, _FULL_32}:
        # The sizes are behind the entry; torch has one of them here too.
        told = {int.from_bytes(wide[at : at + 8], "little") for at in range(0, len(wide), 8)} <= {0, row.size}
    else:
        told = (crc, *_widened(wide, size, stored)) == (row.crc, row.size, row.size)
    if not told or rest[:name_length] != row.name or extra or padding.strip(b"Z\0"):
        raise RefusalError(f"the header of entry {ascii(row.name)[1:80]} disagrees with the directory")
    data = position + _LOCAL.size + len(rest)
    after = data + row.size
    if described:
        after += _check_descriptor(window, after, row)
    if after > window.size:
        raise RefusalError("an entry of an archive reaches beyond the file")
    return ArchiveEntry(_checked_name(row.name), data, row.size), after


def _check_descriptor(window: Window, position: int, row: _Row) -> int:
    """Length of the descriptor behind an entry; it repeats what the directory says, in 32 or in 64 bits."""
    for form in ("<4sIII", "<4sIQQ"):
        length = struct.calcsize(form)
        if position + length <= window.size:
            found = struct.unpack(form, window.read(position, length))
            if found == (b"PK\7\10", row.crc, row.size, row.size):
                return length
    raise RefusalError(f"the descriptor of entry {ascii(row.name)[1:80]} disagrees with the directory")


def _checked_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusalError("the name of an entry is not UTF-8") from None
    parts = name.split("/")
    if len(raw) > _NAME_MAX or not name.isprintable() or {"", ".", ".."} & set(parts) or "\\" in name or ":" in name:
        raise RefusalError(f"the name of entry {ascii(name)[1:80]} leads out of the archive, or is none")
    return name
