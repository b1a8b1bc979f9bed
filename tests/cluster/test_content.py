"""What a worker may hide inside a segment whose root is right, and what becomes of it in a later run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.errors import MediumError
from airbundle.transfer.orders import CombineOrder, Order, SealOrder
from tests.cluster.crews import Given, Liar
from tests.cluster.test_bad_workers import SealsSomethingElse, goes_on, refused
from tests.transfer.workshop import digests

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.transfer.progress import Tick
    from tests.cluster.conftest import Site


@pytest.mark.parametrize("kind", [SealOrder, CombineOrder])
def test_parity_that_could_repair_nothing(site: Site, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Lists and root are right over blocks of parity that have nothing to do with the data."""
    honest = "airbundle.transfer.image.encode_blocks"

    class Idle(Liar):
        def order(self, order: Order) -> Order:
            if isinstance(order, kind):
                monkeypatch.setattr(honest, lambda _engine, layout, blocks: blocks[layout.n:].fill(0xA5))
            return order

    with monkeypatch.context():
        refused(site, Given(Idle()), MediumError, "has parity that could not repair it")
    monkeypatch.undo()


def test_fillers_that_nobody_asked_for(site: Site) -> None:
    class Pads(Liar):
        def order(self, order: Order) -> Order:
            return msgspec.structs.replace(order, terms=msgspec.structs.replace(order.terms, pad=True))

    refused(site, Given(Pads()), MediumError, "has another content than it has to have")
    goes_on(site)


class StoppedError(Exception):
    pass


def stops_after(segments: int) -> Any:
    seen = []

    def progress(tick: Tick) -> None:
        seen.append(tick.done)
        if len(set(seen)) > segments:
            raise StoppedError

    return progress


@pytest.mark.parametrize("goes_on_with", [None, Given])
def test_what_was_believed_is_not_kept_by_who_reads_back(site: Site, tmp_path: Path, goes_on_with: Any) -> None:
    with pytest.raises(StoppedError):
        site.pack(Given(SealsSomethingElse(tmp_path)), read_back=False, progress=stops_after(8), ahead=2)
    packed = site.pack(goes_on_with() if goes_on_with else None)
    assert (packed.kept_segments, packed.read_back) == (0, True)
    site.comes_back(packed)


def test_what_was_read_back_is_kept(site: Site) -> None:
    with pytest.raises(StoppedError):
        site.pack(Given(), progress=stops_after(8), ahead=2)
    packed = site.pack(None)
    assert packed.kept_segments >= 4
    target = site.place / "back"
    api.unpack(packed.volumes, str(target), keys=[site.keys.reader], trust=site.keys.trust)
    assert digests(target) == digests(site.source)
