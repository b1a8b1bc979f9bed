"""What verbs have to do with the page cache: what is said of a medium comes from there, and little is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.media.volume import SEGMENT_NAME, Cache, VolumeReader
from tests.transfer.workshop import MIB, Keys, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("verb", "cache"), [("verify", Cache.PASSED), ("unpack", Cache.SPARED)])
def test_segments_are_read_past_the_page_cache(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str,
                                               cache: Cache) -> None:
    source = write_tree(tmp_path / "source", {"f": noise(MIB)})
    bundle = pack(keys, source, tmp_path / "drive")
    seen: dict[str, set[Cache]] = {}
    honest = VolumeReader.open

    def watched(self: VolumeReader, name: str, *, cache: Cache = Cache.USED) -> int:
        if SEGMENT_NAME.fullmatch(name) and cache is not Cache.USED:  # those that look at the ends alone use it
            seen.setdefault(name, set()).add(cache)
        return honest(self, name, cache=cache)

    monkeypatch.setattr(VolumeReader, "open", watched)
    if verb == "verify":
        bundle.verify()
    else:
        bundle.unpack(tmp_path / "back")
        assert digests(tmp_path / "back") == digests(source)
    rows = bundle.rows() if verb == "verify" else bundle.data_rows()
    assert seen == {bundle.segment(row.number).name: {cache} for row in rows}
