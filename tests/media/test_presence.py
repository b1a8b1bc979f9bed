"""A drive that is gone is told from one that is sick, and from one that is well."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import (
    AirbundleError,
    DamagedError,
    IncompleteError,
    MediumError,
    NoKeyError,
    PolicyError,
    PulledError,
)
from airbundle.media import drive, mount_table, system
from airbundle.media.presence import Presence, explained, pulled_first

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHY = {
    "removed": "the drive was pulled", "no medium": "the drive was pulled", "another drive": "the drive was pulled",
    "not mounted": "the drive is not mounted any more",
}


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that lies on a stick with a serial number, by what /sys and the mount table say."""
    disk = tmp_path / "sys/devices/usb1/1-1/block/sdq"
    (disk / "sdq1").mkdir(parents=True)
    (disk / "sdq1/partition").write_text("1")
    (disk / "size").write_text("1000\n")
    (disk / "diskseq").write_text("41\n")
    (tmp_path / "sys/devices/usb1/1-1/serial").write_text("S3R1AL\n")
    (tmp_path / "sys/class/block").mkdir(parents=True)
    (tmp_path / "sys/class/block/sdq").symlink_to(disk)
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    folder = tmp_path / "drive"
    folder.mkdir()
    (tmp_path / f"sys/dev/block/8:{os.minor(folder.stat().st_dev)}").symlink_to(disk / "sdq1")
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        (tmp_path / "mounts").write_text(mounts.read())
    monkeypatch.setattr(drive, "_SYS", str(tmp_path / "sys"))
    monkeypatch.setattr(mount_table, "_TABLE", str(tmp_path / "mounts"))
    monkeypatch.setattr(os, "major", lambda _: 8)
    return folder


def pull(stick: Path, how: str) -> None:
    disk = stick.parent / "sys/devices/usb1/1-1/block/sdq"
    if how == "removed":
        shutil.rmtree(disk)
    elif how == "no medium":
        (disk / "size").write_text("0\n")
    elif how == "another drive":
        (disk / "diskseq").write_text("42\n")
    else:
        (stick.parent / "mounts").write_text("")


@pytest.mark.parametrize("how", WHY)
def test_a_drive_that_is_gone_is_named(stick: Path, how: str) -> None:
    presence = Presence.of(str(stick))
    presence.require_connected()
    pull(stick, how)
    with pytest.raises(PulledError, match=f"{WHY[how]} .serial number S3R1AL.") as caught:
        presence.require_connected()
    assert (caught.value.where, caught.value.exit_status, caught.value.code) == (str(stick), 9, "pulled")
    assert "connect the drive again" in caught.value.hint


def test_what_is_not_known_counts_as_present(stick: Path) -> None:
    presence = Presence.of(str(stick))
    (stick.parent / "sys/devices/usb1/1-1/block/sdq/diskseq").unlink()  # a kernel before 5.15 has none
    (stick.parent / "mounts").unlink()
    presence.require_present()
    with system.use(system.Features.portable()):
        Presence.of(str(stick)).require_present()
    Presence.of(str(stick / "nothing")).require_connected()


def test_a_file_system_without_a_server(stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    presence = Presence.of(str(stick))

    def gone(path: object, **_: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", gone)
        with pytest.raises(PulledError, match="was pulled"):
            presence.require_connected()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA])
@pytest.mark.parametrize("well", ["", "a", "volume/b"])
def test_a_drive_that_gives_anything_is_there(stick: Path, monkeypatch: pytest.MonkeyPatch, number: int,
                                              well: str) -> None:
    """A sick drive with one file that can be read is sick; one that gives nothing at all is as good as pulled."""
    (stick / "volume").mkdir()
    for name in ("a", "volume/b", "volume/c"):
        (stick / name).write_bytes(bytes(10_000))
    presence = Presence.of(str(stick))
    real = os.preadv

    def sick(fd: int, views: list[memoryview], at: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}") != str(stick / well):
            raise OSError(number, "sick")
        return real(fd, views, at)

    monkeypatch.setattr(os, "preadv", sick)
    if well:
        presence.require_present()
        return
    with pytest.raises(PulledError, match="nothing on this drive can be read any more"):
        presence.require_present()


def test_an_empty_drive_is_there(stick: Path) -> None:
    Presence.of(str(stick)).require_present()
    (stick / "empty").touch()
    Presence.of(str(stick)).require_present()


EXPLAINED: dict[str, Callable[[str], AirbundleError]] = {
    "damaged": lambda _: DamagedError("damaged"),
    "incomplete": lambda _: IncompleteError("more are needed"),
    "unreadable": lambda path: MediumError("an I/O error", where=f"{path}/x"),
    "serial": lambda _: PolicyError("changed-serial", "another drive"),
}
KEPT: dict[str, Callable[[str], AirbundleError]] = {
    "no key": lambda _: NoKeyError("no key"),
    "elsewhere": lambda path: MediumError("no space is left", where=f"{path}-2/x"),
    "replay": lambda _: PolicyError("replay", "it was here"),
}


@pytest.mark.parametrize("kind", [*EXPLAINED, *KEPT])
def test_what_a_drive_that_is_gone_explains(stick: Path, kind: str) -> None:
    presence = Presence.of(str(stick))
    error = {**EXPLAINED, **KEPT}[kind](str(stick))
    assert explained(error, [presence]) is error
    with pytest.raises(type(error)), pulled_first([presence]):
        raise error
    pull(stick, "removed")
    assert isinstance(explained(error, [presence]), PulledError) == (kind in EXPLAINED)
    with pytest.raises(PulledError if kind in EXPLAINED else type(error)), pulled_first([presence]):
        raise error
    with pulled_first([presence]):
        """Nothing failed."""


def test_an_error_of_the_system_is_explained_or_passed_on(stick: Path) -> None:
    presence = Presence.of(str(stick))
    with pytest.raises(FileNotFoundError), pulled_first([presence]):
        raise FileNotFoundError(errno.ENOENT, "x")
    pull(stick, "removed")
    with pytest.raises(PulledError), pulled_first([presence]):
        raise FileNotFoundError(errno.ENOENT, "x")
