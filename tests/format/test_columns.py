"""Lists of files in columns: what comes out is what went in, and takes a fraction of the memory."""

from __future__ import annotations

import tracemalloc

import pytest

from airbundle.errors import FormatError
from airbundle.format.columns import PathColumn
from airbundle.format.manifest import FileRow, FileRows, Manifest, SliceRow, parse_manifest, write_manifest
from airbundle.format.names import SafePath

MANY = 20_000
PATHS = ["a", "b/ä", "b/漢", "z" * 200, "𝄞"]
ROWS = [FileRow(path, size, f"{size:064x}") for path, size in zip(PATHS, (0, 1, 2**53 - 1, 7, 0), strict=True)]


def manifest(rows: list[FileRow]) -> Manifest:
    size = sum(row.size for row in rows)
    return Manifest(bundle="0" * 32, packer="0" * 64, recipients=(), series=None, sequence=None, meta=(),
                    segments=(SliceRow(0, 0, size),) if size else (), files=tuple(rows), folders=())


def test_paths_are_there_by_number_in_slices_and_in_order() -> None:
    column = PathColumn(PATHS)
    assert (list(column), len(column)) == (PATHS, len(PATHS))
    assert [column[number] for number in range(len(PATHS))] == PATHS
    assert (column[-1], column[1:3], column[::-2]) == (PATHS[-1], PATHS[1:3], PATHS[::-2])
    assert {type(path) for path in (*column, column[0], *column[:1])} == {SafePath}
    with pytest.raises(IndexError):
        column[len(PATHS)]
    assert list(PathColumn([])) == []


def test_rows_are_there_by_number_in_slices_and_in_order() -> None:
    rows = FileRows(iter(ROWS))
    assert (list(rows), len(rows)) == (ROWS, len(ROWS))
    assert [rows[number] for number in range(len(ROWS))] == ROWS
    assert (rows[-1], rows[1:3], list(rows.sizes)) == (ROWS[-1], ROWS[1:3], [row.size for row in ROWS])
    assert {type(row.path) for row in (*rows, rows[0])} == {str}  # what msgspec encodes
    with pytest.raises(IndexError):
        rows[len(ROWS)]


@pytest.mark.parametrize("other", [ROWS[:-1], [*ROWS, ROWS[-1]], [*ROWS[:-1], FileRow("𝄞", 0, "1" * 64)], "rows"])
def test_rows_are_equal_where_each_is(other: object) -> None:
    assert FileRows(ROWS) == ROWS == FileRows(ROWS)
    assert FileRows(ROWS) != other


def test_what_is_parsed_is_kept_in_columns_and_written_as_it_was() -> None:
    raw = write_manifest(manifest(ROWS[:2]))
    parsed = parse_manifest(raw)
    assert isinstance(parsed.files, FileRows)
    assert parsed == manifest(ROWS[:2])
    assert write_manifest(parsed) == raw
    assert (parsed.size, list(parsed.starts())) == (1, [0, 0, 1])


def test_a_file_of_a_manifest_takes_few_bytes() -> None:
    """As rows they take 260 each, for as long as a bundle is unpacked: there may be half a million."""
    raw = write_manifest(manifest([FileRow(f"{number:06d}", 1, f"{number:064x}") for number in range(MANY)]))
    parse_manifest(raw)
    tracemalloc.start()
    try:
        parsed = parse_manifest(raw)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parsed.files) == MANY
    assert 50 < kept / MANY < 70
    assert peak / MANY < 600


@pytest.mark.parametrize(("row", "rule"), [
    (b'["a",1,"' + b"0" * 63 + b'"]', "E-1"), (b'["a",1]', "E-1"), (b'{"path":"a"}', "E-1"), (b'["a","1",""]', "E-1"),
    (b'["\\u0061",1,"' + b"0" * 64 + b'"]', "E-3"), (b'["a", 1,"' + b"0" * 64 + b'"]', "E-3"),
    (b'["a",01,"' + b"0" * 64 + b'"]', "E-1"), (b'["\xff",1,"' + b"0" * 64 + b'"]', "E-2")])
def test_each_row_is_held_to_the_one_encoding(row: bytes, rule: str) -> None:
    honest = write_manifest(manifest([FileRow("a", 1, "0" * 64)]))
    assert honest.count(b'["a",1,"' + b"0" * 64 + b'"]') == 1
    with pytest.raises(FormatError) as caught:
        parse_manifest(honest.replace(b'["a",1,"' + b"0" * 64 + b'"]', row))
    assert caught.value.rule == rule
