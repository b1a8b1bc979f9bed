"""Limits of file systems that a plan has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.errors import UsageError
from airbundle.format.limits import MIB, SLICE_MAX
from airbundle.transfer import plan
from airbundle.transfer.layout import Team
from airbundle.transfer.workspace import MEMORY_DEFAULT

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_on_fat_holds_so_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teams = [Team(number, number, 1, (1, 1)) for number in range(plan.FAT_FILES_MAX // 2)]
    monkeypatch.setattr(plan, "filesystem_type", lambda _: "vfat")
    plan.require_folders_hold([str(tmp_path)], teams)
    more = [*teams, Team(len(teams), len(teams), 1, (1, 1))]
    with pytest.raises(UsageError, match="32,002 are needed"):
        plan.require_folders_hold([str(tmp_path)], more)
    monkeypatch.setattr(plan, "filesystem_type", lambda _: "exfat")
    plan.require_folders_hold([str(tmp_path)], more)


def test_slices_fill_whole_groups() -> None:
    """Headers make 1 GiB of weights a little more than 32 times 32 MiB: still 32 slices, not 33."""
    options = plan.Options()
    for total, slices in ((MIB, 1), (20 * MIB, 2), (1 << 30, 32), ((1 << 30) + 5000, 32), ((1 << 30) + 100 * MIB, 36),
                          ((4 << 30) + 70_000, 64), (1 << 43, 100_663)):
        size = options.slice_size(total)
        assert size <= SLICE_MAX
        assert -(-total // size) <= slices, total
    assert plan.Options(segment_size=5 * MIB).slice_size(1 << 30) == 5 * MIB


@pytest.mark.parametrize("lose", range(64))
def test_what_may_be_lost_fits_into_memory(lose: int) -> None:
    """A worker holds its own segment and the parity of its group; it would take 4 GiB with 64 MiB each."""
    for total in (MIB, 1 << 30, 500 << 30):
        size = plan.Options().slice_size(total, lose)
        assert size * (lose + 1) <= MEMORY_DEFAULT
        assert size >= 8 * MIB
