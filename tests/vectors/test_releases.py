"""What any version has packed, this one opens, to the last byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.suites import SUITES
from tests.vectors.people import person, trust_of
from tests.vectors.release import RELEASES
from tests.vectors.run import tree_of
from tests.vectors.volumes import read_archive

if TYPE_CHECKING:
    from pathlib import Path

KEPT: list[dict[str, Any]] = [json.loads(line) for line in (RELEASES / "releases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept["archive"])
def test_it_is_opened(kept: dict[str, Any], tmp_path: Path) -> None:
    for name, raw in read_archive(RELEASES / kept["archive"]).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    (volume,) = (tmp_path / "1").iterdir()
    trust, keys = trust_of([kept["trust"]]), [person(kept["key"])]
    assert api.verify([str(volume)], trust=trust, keys=keys).opened
    assert api.inspect([str(volume)], trust=trust).writer == kept["writer"]
    api.unpack([str(volume)], str(tmp_path / "back"), trust=trust, keys=keys)
    assert tree_of(tmp_path / "back") == kept["tree"]


def test_each_suite_has_one() -> None:
    assert {kept["trust"].partition("-")[2] for kept in KEPT} == {suite.name for suite in SUITES}
    assert {kept["archive"] for kept in KEPT} == {path.name for path in RELEASES.glob("*.tar.xz")}
