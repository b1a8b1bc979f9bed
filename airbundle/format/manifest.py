"""The manifest: the sealed list of files, and what it repeats of the statement (spec chapter 8)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import eq
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.columns import PathColumn, Rows
from airbundle.format.encoding import Hex16, Hex32, HexDigest, Int53
from airbundle.format.names import SafePath, check_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_DIGEST: Final = 32


class FileRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One file: path, size in bytes, SHA-256 in hexadecimal."""

    path: str
    size: Int53
    sha256: Hex32  # its packer's word (G-11)


class FileRows(Rows[FileRow]):
    """Rows of files in columns, each made when it is asked for: 50 bytes and a path, where a row takes 260."""

    __slots__ = ("_digests", "paths", "sizes")

    def __init__(self, rows: Iterable[FileRow]) -> None:
        sizes, digests = array("Q"), bytearray()

        def kept(row: FileRow) -> str:
            sizes.append(row.size)
            digests.extend(bytes.fromhex(row.sha256))
            return row.path

        self.paths = PathColumn(map(kept, rows))
        self.sizes, self._digests = sizes, bytes(digests)

    def __len__(self) -> int:
        return len(self.paths)

    def _row(self, number: int) -> FileRow:
        digest = self._digests[number * _DIGEST:(number + 1) * _DIGEST]
        return FileRow(str(self.paths[number]), self.sizes[number], digest.hex())

    def __iter__(self) -> Iterator[FileRow]:
        digests = (self._digests[at:at + _DIGEST].hex() for at in range(0, len(self._digests), _DIGEST))
        return map(FileRow, map(str, self.paths), self.sizes, digests)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class SliceRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The slice of the source stream that a data segment holds."""

    number: Int53
    start: Int53
    length: Int53


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list of files and who sent it to whom."""

    bundle: Hex16
    packer: HexDigest
    recipients: tuple[HexDigest, ...]  # as many as the preamble has (G-4)
    series: str | None
    sequence: Int53 | None
    meta: Annotated[tuple[tuple[str, str], ...], msgspec.Meta(max_length=limits.META_PAIRS_MAX)]
    segments: Annotated[tuple[SliceRow, ...], msgspec.Meta(max_length=limits.ROWS_MAX)]
    files: Annotated[Sequence[FileRow], msgspec.Meta(max_length=limits.FILES_MAX)]
    folders: Annotated[tuple[str, ...], msgspec.Meta(max_length=limits.FOLDERS_MAX)]

    @property
    def size(self) -> int:
        """Bytes of the source stream."""
        return sum(_sizes(self.files))

    def starts(self) -> Sequence[int]:
        """Start of each file in the source stream, and the end of the last."""
        return array("Q", accumulate(_sizes(self.files), initial=0))


class _Read(Manifest, frozen=True):
    """As it is read: half a million rows are decoded one by one, and none is kept."""

    files: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=limits.FILES_MAX)]  # type: ignore[assignment]


def _sizes(files: Sequence[FileRow]) -> Iterable[int]:
    return files.sizes if isinstance(files, FileRows) else (file.size for file in files)


def write_manifest(manifest: Manifest, files: Iterable[FileRow] | None = None) -> bytes:
    """The JSON of the manifest, after the same checks that a reader makes. Raises FormatError.

    `files` come in place of the manifest's own and are not kept: half a million rows take 150 MB.
    """
    check_meta(manifest.meta)
    encoder, rows, total = msgspec.json.Encoder(), bytearray(b"["), 0

    def written() -> Iterator[SafePath]:
        nonlocal total
        for row in manifest.files if files is None else files:
            path = SafePath.parse(row.path)
            rows.extend(b"," if len(rows) > 1 else b"")
            encoder.encode_into(row, rows, len(rows))
            total += row.size
            yield path

    check_paths(written(), map(SafePath.parse, manifest.folders))  # which takes all rows, one after another
    _check_slices(manifest.segments, total)
    rows += b"]"
    raw = encoding.encode(msgspec.structs.replace(manifest, files=msgspec.Raw(rows)))
    if len(raw) > limits.MANIFEST_MAX:
        raise FormatError(f"a manifest of {len(raw)} bytes", rule="L-3")
    return raw


def parse_manifest(raw: bytes, require: Callable[[Manifest], None] = lambda _: None) -> Manifest:
    """Parse an opened manifest; checks meta (L-4), then paths (P-1 to P-5) and slices (G-5). Raises FormatError.

    `require` is asked between them, of what the manifest repeats (G-4), and raises what it likes.
    """
    read = encoding.decode(raw, _Read, limit=limits.MANIFEST_MAX, rule="L-3")
    files = FileRows(encoding.decode_part(row, FileRow) for row in read.files)
    manifest = Manifest(**{**msgspec.structs.asdict(read), "files": files})
    del read
    check_meta(manifest.meta)
    require(manifest)
    check_paths(map(SafePath.parse, files.paths), map(SafePath.parse, manifest.folders))
    _check_slices(manifest.segments, manifest.size)
    return manifest


def _check_slices(slices: Sequence[SliceRow], total: int) -> None:
    end = 0
    for number, row in enumerate(slices):
        if row.number != number or row.start != end or not 0 < row.length <= limits.SLICE_MAX:
            raise FormatError(f"the slice of segment {number} is out of order", rule="G-5")
        end += row.length
    if end != total:
        raise FormatError(f"the slices cover {end} bytes of {total}", rule="G-5")


def check_meta(meta: tuple[tuple[str, str], ...]) -> None:
    """Check number, sizes and order of the pairs (L-4). Raises FormatError."""
    keys = [key for key, _ in meta]
    if any(0xD800 <= ord(c) < 0xE000 for pair in meta for text in pair for c in text):
        raise FormatError("meta data is not Unicode text", rule="E-2")
    if keys != sorted(set(keys)) or len(meta) > limits.META_PAIRS_MAX:
        raise FormatError("the keys of the meta data are not in order, or twice, or too many", rule="L-4")
    for key, value in meta:
        if not 0 < len(key.encode()) <= limits.META_KEY_MAX or len(value.encode()) > limits.META_VALUE_MAX:
            raise FormatError(f"meta data '{key[:40]}' is too long", rule="L-4")
