"""Mounting for real: loop devices with ext4 on this kernel, and the lines of its mount table."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from airbundle.devices import mounting
from airbundle.devices.mounting import (
    OPTIONS,
    WANTED,
    mount_read_only,
    mounted_at,
    require_flags,
    set_read_only,
    unmount,
)
from airbundle.errors import MediumError, UsageError
from airbundle.media.mount_table import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/loop-control")
    or not shutil.which("mkfs.ext4", path=ENVIRONMENT["PATH"]),
    reason="needs root, loop devices and mkfs.ext4")


def tool(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.strip()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """An ext4 file system on a loop device, with a program, a link and a text on it."""
    content = tmp_path / "content"
    content.mkdir()
    (content / "text").write_text("hello")
    (content / "link").symlink_to("/etc/passwd")
    (content / "program").write_text("#!/bin/sh\n")
    (content / "program").chmod(0o4755)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    tool("mkfs.ext4", "-q", "-F", "-d", str(content), str(image))
    node = tool("losetup", "-f", "-r", "--show", str(image))
    yield node
    for row in mounts():  # of a test that failed
        if row.source == node:
            unmount(row.point)
    tool("blockdev", "--setrw", node)  # it outlives what lies under the loop
    tool("losetup", "-d", node)


@needs_loop
def test_it_can_be_read_and_nothing_else(loop: str, tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    row = mount_read_only(loop, "ext4", str(point))
    try:
        assert row.options >= WANTED
        assert mounted_at(str(point)) == row
        assert (point / "text").read_text() == "hello"
        with pytest.raises(OSError) as caught:
            (point / "link").read_text()
        assert caught.value.errno == errno.ELOOP
        with pytest.raises(PermissionError):
            subprocess.run([point / "program"], check=False)
        with pytest.raises(OSError) as caught:
            (point / "new").write_text("x")
        assert caught.value.errno == errno.EROFS
    finally:
        unmount(str(point))
    assert mounted_at(str(point)) is None


@needs_loop
def test_flags_that_were_dropped_are_added(loop: str, tmp_path: Path) -> None:
    """As some helpers of FUSE do: mounted without them by somebody else."""
    point = tmp_path / "point"
    point.mkdir()
    tool("mount", "-t", "ext4", "-o", "ro,noload", loop, str(point))
    try:
        assert not (mounted_at(str(point)) or pytest.fail("is not mounted")).options >= WANTED
        assert require_flags(str(point)).options >= WANTED
    finally:
        unmount(str(point))


@needs_loop
def test_one_whose_flags_do_not_come_is_unmounted_again(loop: str, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "WANTED", WANTED | {"noatime-or-so"})
    point = tmp_path / "point"
    point.mkdir()
    with pytest.raises(MediumError, match="without noatime-or-so"):
        mount_read_only(loop, "ext4", str(point))
    assert mounted_at(str(point)) is None


@needs_loop
def test_the_device_is_set_read_only_before_it_is_mounted_unless_somebody_uses_it(loop: str, tmp_path: Path) -> None:
    tool("losetup", "-d", loop)
    tool("losetup", loop, str(tmp_path / "image"))
    tool("blockdev", "--setrw", loop)
    point, other = tmp_path / "point", tmp_path / "other"
    point.mkdir()
    other.mkdir()
    tool("mount", "-t", "ext4", loop, str(other))
    with pytest.raises(MediumError, match="in use"):
        mount_read_only(loop, "ext4", str(point))
    (other / "new").write_text("x")
    unmount(str(other))
    mount_read_only(loop, "ext4", str(point))
    unmount(str(point))
    assert tool("blockdev", "--getro", loop) == "1"
    tool("blockdev", "--setrw", loop)


@needs_loop
def test_what_is_no_file_system_and_what_is_not_known(loop: str, tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    with pytest.raises(MediumError):
        mount_read_only(loop, "xfs", str(point))
    with pytest.raises(UsageError):
        mount_read_only(loop, "fuse.anything", str(point))
    with pytest.raises(MediumError):
        require_flags(str(point))
    assert mounted_at(str(point)) is None


@needs_loop
def test_a_device_that_can_be_written_is_not_any_more(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    node = tool("losetup", "-f", "--show", str(image))
    try:
        set_read_only(node)
        with pytest.raises(OSError), open(node, "r+b", buffering=0) as device:
            device.write(b"x" * 512)
        tool("blockdev", "--setrw", node)
    finally:
        tool("losetup", "-d", node)
    with pytest.raises(MediumError):
        set_read_only(str(image))


def test_every_kind_that_has_a_journal_is_kept_from_playing_it() -> None:
    assert {kind: OPTIONS[kind] for kind in ("ext3", "ext4", "xfs", "btrfs")} == {
        "ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay"}
