"""Somebody made a folder under the name of a file of the volume: repair finishes, and what was in it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.media import volume as names
from tests.transfer.workshop import KIB, Keys, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["00000000.abs", names.CATALOG_NAME, names.CATALOG_COPY_NAME, names.STATEMENT_NAME,
                                  names.RECORD_NAME])
def test_repair_puts_it_aside(keys: Keys, tmp_path: Path, name: str) -> None:
    bundle = pack(keys, write_tree(tmp_path / "source", {"w": noise(90 * KIB)}), tmp_path / "drive")
    before = digests(bundle.volume)
    (bundle.volume / name).unlink()
    (bundle.volume / name).mkdir()
    (bundle.volume / name / "inside").write_bytes(b"somebody's")
    bundle.refused(11)
    bundle.repair()
    bundle.verify()
    (aside,) = bundle.volume.glob("*.aside-*")
    assert (aside / "inside").read_bytes() == b"somebody's"
    after = digests(bundle.volume)
    assert {one: after[one] for one in before} == before
