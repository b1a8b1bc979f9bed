"""Nothing is ever written to a source, by whatever name it is reached."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.errors import MediumError, UsageError
from airbundle.media import drive, raw
from airbundle.media import volume as names
from airbundle.media.raw import RawSources
from tests.transfer.workshop import Packed, digests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("given", ["folder", "one file", "a link to one", "a folder in it"])
@pytest.mark.parametrize("stated", [True, False], ids=["", "strays"])
def test_a_source_under_the_name_of_the_volume(small: Packed, tmp_path: Path, given: str, *, stated: bool) -> None:
    folder = small.volume
    if not stated:
        for name in names.STATEMENTS:
            (folder / name).unlink()
    first = folder / "00000000.abs"
    content = bytearray(first.read_bytes())
    content[40_000:45_000] = bytes(5000)
    first.write_bytes(content)
    sources = [str(folder)]
    if given == "one file":
        sources = [str(file) for file in sorted(folder.iterdir())]
    elif given == "a link to one":
        (tmp_path / "link").symlink_to(first)
        sources = [str(tmp_path / "link")]
        sources += [str(file) for file in sorted(folder.iterdir()) if file != first]
    elif given == "a folder in it":
        (folder / "inner").mkdir()
        for file in list(folder.iterdir()):
            if file.is_file():
                file.rename(folder / "inner" / file.name)
        sources = [str(folder / "inner")]
    before = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(UsageError, match="to be rescued"):
        api.rescue(sources, str(folder.parent), trust=small.keys.trust)
    assert {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_beside_a_source_is_apart(small: Packed, tmp_path: Path) -> None:
    (small.volume.parent / "out").mkdir()
    carved = small.volume.rename(small.volume.parent / "carved")
    api.rescue([str(carved)], str(carved.parent), trust=small.keys.trust)
    assert digests(carved) == digests(small.volume)


@pytest.fixture
def device(small: Packed) -> Iterator[RawSources]:
    """A source that says it is the device on which it lies."""
    with RawSources([str(small.segment(0))]) as sources:
        sources[0].device = os.stat(small.volume).st_dev
        yield sources


def test_a_device_is_known_by_its_number(
        device: RawSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "lies_on", lambda *_: False)
    for check in (device.require_target, device.require_apart):
        with pytest.raises(UsageError, match="which is to be rescued"):
            check(str(tmp_path / "not" / "yet"))


def test_what_cannot_be_told_is_refused(device: RawSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path / "out")
    device[0].device = os.makedev(250, 250)
    with pytest.raises(UsageError, match="nothing here tells"):  # a device that /sys does not have
        device.require_apart(out)
    (tmp_path / "sys" / "250:250").mkdir(parents=True)
    monkeypatch.setattr(raw, "_SYS_BLOCK", str(tmp_path / "sys"))
    monkeypatch.setattr(raw, "physical_device", lambda _: "sdx")
    device.require_apart(out)
    monkeypatch.setattr(raw, "physical_device", drive.physical_device)
    monkeypatch.setattr(drive, "_SYS", str(tmp_path))
    monkeypatch.setattr(raw, "filesystem_type", lambda _: "tmpfs")
    device.require_apart(out)
    monkeypatch.setattr(raw, "filesystem_type", lambda _: "overlay")
    with pytest.raises(UsageError, match="nothing here tells"):
        device.require_apart(out)

    def fails(*_: object) -> bool:
        raise PermissionError

    monkeypatch.setattr(raw, "physical_device", lambda _: "sdx")
    monkeypatch.setattr(raw, "lies_on", fails)
    with pytest.raises(UsageError, match="nothing here tells"):
        device.require_apart(out)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_listed(small: Packed, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What may not be read is not left out in silence; what is damaged ends nothing."""
    (small.volume / "inner").mkdir()
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if os.fspath(path).endswith("inner"):
            raise OSError(number, os.strerror(number), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if number == errno.EIO:
        with RawSources([str(small.volume)]) as sources:
            assert len(sources) == len(list(small.volume.glob("*.*"))) - 1
    else:
        with pytest.raises(MediumError, match="permission denied"):
            RawSources([str(small.volume)])
