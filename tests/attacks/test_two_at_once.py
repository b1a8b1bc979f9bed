"""Two processes write to the same volumes: one works, the other is told; nothing that was reported done is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.errors import UsageError
from airbundle.media.volume import VolumeReader
from tests.transfer.workshop import KIB, PACE, Keys, Packed, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERBS: dict[str, Callable[[Packed, Keys], Any]] = {
    "sign": lambda bundle, keys: api.sign(bundle.given, sign=keys.second, trust=keys.trust),
    "repair": lambda bundle, keys: bundle.repair(),
    "rewrap": lambda bundle, keys: api.rewrap(bundle.given, sign=keys.packer, keys=[keys.reader],
                                              add=[keys.second.public]),
}


@pytest.fixture
def bundle(keys: Keys, tmp_path: Path) -> Packed:
    return pack(keys, write_tree(tmp_path / "source", {"w": noise(90 * KIB)}), tmp_path / "drive")


@pytest.mark.parametrize("verb", VERBS)
def test_who_comes_second_writes_nothing(bundle: Packed, keys: Keys, verb: str) -> None:
    before = digests(bundle.volume)
    with VolumeReader(str(bundle.volume)) as first:
        first.lock()
        with pytest.raises(UsageError, match="another airbundle is writing to this volume"):
            VERBS[verb](bundle, keys)
        bundle.verify()  # reading is for everybody
    assert digests(bundle.volume) == before
    VERBS[verb](bundle, keys)
    bundle.verify()


def test_a_copy_onto_a_volume_that_is_being_written(bundle: Packed, keys: Keys, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    (target / bundle.volume.name).mkdir(parents=True)
    with VolumeReader(str(target / bundle.volume.name)) as other:
        other.lock()
        with pytest.raises(UsageError, match="another airbundle is writing to this volume"):
            api.copy(bundle.given, [str(target)], trust=keys.trust, pace=PACE)
    api.copy(bundle.given, [str(target)], trust=keys.trust, pace=PACE)
    api.verify([str(target)], trust=keys.trust)
