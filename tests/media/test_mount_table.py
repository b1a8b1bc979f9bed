from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.media import drive, mount_table
from airbundle.media.mount_table import mounts, parse_mount

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_line() -> None:
    row = parse_mount("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/r\\134oot rw,errors=continue\n")
    assert (row.identity, row.point, row.kind, row.source) == ("36 35 98:0", "/mnt 2", "ext3", "/dev/r\\oot")
    assert row.options == {"rw", "noatime"}
    assert any(row.point == "/" for row in mounts())


def test_a_mount_point_may_hold_what_ends_a_line_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop that mounts by label may hand it on, to the watcher and to whoever asks what lies under a path."""
    table = tmp_path / "mountinfo"
    odd = f"{tmp_path}/A\rB\x85C"
    table.write_bytes(f"1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 8:17 / {odd} ro - vfat /dev/sdq1 ro\n".encode())
    monkeypatch.setattr(mount_table, "_TABLE", str(table))
    assert [row.point for row in mounts()] == ["/", odd]
    assert drive.filesystem_type(f"{odd}/inside") == "vfat"
    assert drive.filesystem_type("/etc") == "ext4"
