"""Media on which a careless repair would write over, cut off or rename away what could still be had."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.errors import RepairableError
from airbundle.media import system
from airbundle.media import volume as names
from airbundle.media.writing import VolumeWriter, temporary_name
from tests.transfer.workshop import Packed, digests, flip, kill_blocks, overwrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def healed(bundle: Packed, before: dict[str, str]) -> None:
    bundle.repair()
    after = digests(bundle.volume)
    assert {name: after.get(name) for name in before} == before
    bundle.verify()


def test_a_catalog_written_over_the_start_of_a_segment(small: Packed) -> None:
    """A write that went astray. The file gives the segment and the catalog; cut to the catalog's size it would not."""
    before = digests(small.volume)
    overwrite(small.segment(0), 0, (small.volume / names.CATALOG_NAME).read_bytes()[:7 * 4096 - 3])
    small.report(11)
    healed(small, before)


def test_a_segment_under_the_name_of_a_catalog_that_was_written_over_it(small: Packed) -> None:
    before = digests(small.volume)
    catalog = (small.volume / names.CATALOG_NAME).read_bytes()
    os.replace(small.segment(0), small.volume / names.CATALOG_NAME)
    overwrite(small.volume / names.CATALOG_NAME, 0, catalog)
    healed(small, before)


def test_a_segment_under_the_temporary_name_of_another(small: Packed) -> None:
    before = digests(small.volume)
    os.replace(small.segment(1), small.volume / temporary_name(names.segment_name(0), "0"))
    os.replace(small.segment(0), small.volume / "elsewhere")
    healed(small, before)


def test_several_catalogs_under_strange_names(small: Packed) -> None:
    before = digests(small.volume)
    os.replace(small.volume / names.CATALOG_NAME, small.volume / "x1")
    for name in ("x2", "x3"):
        shutil.copy(small.volume / "x1", small.volume / name)
    healed(small, before)


def test_what_a_killed_repair_left_does_not_stop_the_next_one(small: Packed) -> None:
    before = digests(small.volume)
    catalog = small.volume / names.CATALOG_NAME
    left = small.volume / temporary_name(names.CATALOG_NAME, small.statement().catalog.salt)
    left.write_bytes(catalog.read_bytes()[:5000])
    catalog.unlink()
    healed(small, before)


@pytest.mark.parametrize("name", [names.CATALOG_NAME, names.CATALOG_COPY_NAME])
def test_one_catalog_that_cannot_be_opened(small: Packed, tmp_path: Path, name: str) -> None:
    """Too long for a file of a volume (V-1): the other copy is there."""
    before = digests(small.volume)
    os.truncate(small.volume / name, 5 << 30)
    small.report(11)
    small.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(small.source)
    healed(small, before)


def test_the_entry_of_a_catalog_that_cannot_be_read(small: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = system.open_file

    def sick(path: str, flags: int, mode: int = 0o666, *, dir_fd: int | None = None, direct: bool = False) -> int:
        if os.path.basename(path) == names.CATALOG_NAME and not flags & os.O_WRONLY:
            raise OSError(5, "Input/output error")
        return honest(path, flags, mode, dir_fd=dir_fd, direct=direct)

    monkeypatch.setattr(system, "open_file", sick)
    small.report(11)


def test_a_second_copy_that_is_rotten(small: Packed, tmp_path: Path) -> None:
    """Whoever gives two copies hears of both, and gets both repaired."""
    before = digests(small.volume)
    second = small.copy_to(tmp_path / "second")
    flip(second.segment(0), 50_000)
    second.segment(1).unlink()
    both = [str(small.volume), str(second.volume)]
    with pytest.raises(RepairableError) as caught:
        api.verify(both, trust=small.keys.trust, keys=[small.keys.reader])
    assert {finding.file for finding in getattr(caught.value.report, "findings", ())} == {
        names.segment_name(0), names.segment_name(1)}
    api.repair(both, trust=small.keys.trust)
    assert digests(second.volume) == digests(small.volume) == before


def test_a_second_copy_beyond_its_own_parity(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    second = small.copy_to(tmp_path / "second")
    kill_blocks(second.segment(0), 4096, range(second.segment(0).stat().st_size // 4096))
    api.repair([str(second.volume), str(small.volume)], trust=small.keys.trust)
    assert digests(second.volume) == before


def test_a_drive_that_takes_a_new_catalog_and_gives_back_another(
        small: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written whole is read back too."""
    (small.volume / names.CATALOG_NAME).unlink()
    honest = VolumeWriter.settle

    def sick(self: VolumeWriter, temporary: str, name: str) -> None:
        honest(self, temporary, name)
        flip(small.volume / name, 5000)

    monkeypatch.setattr(VolumeWriter, "settle", sick)
    with pytest.raises(Exception, match="does not hold what was written"):
        small.repair()


@pytest.mark.parametrize("name", [names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("../victim", path)], ids=["pipe", "link"])
def test_a_link_or_a_pipe_in_the_place_of_a_file(small: Packed, name: str, make: Callable[[Path], None]) -> None:
    """It is replaced; what the link leads to is left alone."""
    before = digests(small.volume)
    victim = small.volume.parent / "victim"
    victim.write_bytes(b"precious")
    (small.volume / name).unlink()
    make(small.volume / name)
    small.report(11)
    healed(small, before)
    assert victim.read_bytes() == b"precious"
