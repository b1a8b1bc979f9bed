"""Limits of file systems that a plan has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.errors import UsageError
from airbundle.transfer import plan
from airbundle.transfer.layout import Team

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
