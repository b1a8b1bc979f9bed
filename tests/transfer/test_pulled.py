"""Every verb that reads a drive says that it was pulled, when it was, and publishes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.errors import AirbundleError, PulledError
from airbundle.media.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.transfer.workshop import Packed

VERBS: dict[str, Callable[[Packed, Path], Any]] = {
    "verify": lambda bundle, _: bundle.verify(),
    "repair": lambda bundle, _: bundle.repair(),
    "sign": lambda bundle, _: api.sign(bundle.given, sign=bundle.keys.stranger, trust=bundle.keys.trust),
    "rewrap": lambda bundle, _: api.rewrap(bundle.given, sign=bundle.keys.packer, keys=[bundle.keys.reader],
                                           add=[bundle.keys.second.public]),
    "rebuild": lambda bundle, place: api.rebuild(bundle.given, str(place), trust=bundle.keys.trust),
    "copy": lambda bundle, place: api.copy(bundle.given, [str(place)], trust=bundle.keys.trust),
    "unpack": lambda bundle, place: bundle.unpack(place / "back"),
    "salvage": lambda bundle, place: api.salvage(bundle.given, str(place / "back"), trust=bundle.keys.trust,
                                                 keys=[bundle.keys.reader]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_pulled_drive_lacks_is_not_missing(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  verb: str) -> None:
    """As FAT says it: of a sudden there are no such files."""
    place = tmp_path / "place"
    place.mkdir()
    for path in small.volume.glob("[0-9]*.abs"):
        path.unlink()

    def pulled(presence: Presence) -> None:
        if presence.path != str(place):
            raise PulledError("the drive was pulled", where=presence.path)

    with monkeypatch.context() as patch:
        patch.setattr(Presence, "require_present", pulled)
        with pytest.raises(PulledError) as caught:
            VERBS[verb](small, place)
        assert caught.value.where == str(small.volume)
    assert not (place / "back").exists()
    if verb == "salvage":  # of a drive that is there it takes what it can
        assert VERBS[verb](small, place).failed == 2
        return
    with pytest.raises(AirbundleError) as other:
        VERBS[verb](small, place)
    assert other.value.exit_status != 9


def test_a_pull_while_it_packs(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a drive that is written to."""
    def pulled(presence: Presence) -> None:
        if presence.path == str(tmp_path / "gone"):
            raise PulledError("the drive was pulled", where=presence.path)

    monkeypatch.setattr(Presence, "require_present", pulled)
    with pytest.raises(PulledError, match="pulled"):
        api.pack(str(small.source), str(tmp_path / "gone"), sign=small.keys.packer, to=[small.keys.reader.public])
