"""`docs/drives.md` quotes what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airbundle import errors
from airbundle.format import limits
from airbundle.media import rate, recheck
from airbundle.transfer import plan

ROOT = Path(__file__).parents[2]
RAW = (ROOT / "docs" / "drives.md").read_text()
TEXT = " ".join(RAW.split())
SAID = {
    "airbundle/media/presence.py": ["the drive was pulled", "nothing on this drive can be read any more"],
    "airbundle/media/faults.py": ["connect the drive again, then run the same command again"],
    "airbundle/media/writing.py": ["does not hold any more what was written to it",
                                   "lies about its size, or it is failing"],
    "airbundle/media/rate.py": ["this drive has taken", "it is hot, its cache is full, or it is failing"],
    "airbundle/cli/output.py": ["safe to unplug"],
    "airbundle/media/staging.py": ["umask=077"],
}


@pytest.mark.parametrize("path", SAID)
def test_words(path: str) -> None:
    code = (ROOT / path).read_text()
    for words in SAID[path]:
        assert words in code
        assert words.lower() in TEXT.lower()


def test_codes_and_figures() -> None:
    assert set(re.findall(r"^## .*\(`(.+)`\)$", RAW, re.MULTILINE)) == {
        errors.PulledError.code, errors.UnreliableDriveError.code}
    assert {errors.PulledError.exit_status, errors.UnreliableDriveError.exit_status} == {9}
    assert (recheck._SHARE, rate._SHARE, rate._SECONDS) == (20, 5, 10.0)
    assert (recheck._PIECES, recheck._PIECE) == (16, 16 * limits.KIB)
    assert limits.SEGMENT_STORED_MAX == 288 * limits.MIB
    assert f"{plan.FAT_FILES_MAX:,} segments" in TEXT
