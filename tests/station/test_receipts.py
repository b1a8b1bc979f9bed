"""Receipts: believed by the station's signature alone, about one statement, and readable on paper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import station_api
from airbundle.cli.main import main
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, ForgedError, StrangerError
from tests.station.desk import Desk

if TYPE_CHECKING:
    from airbundle.station.intake import ImportResult


@pytest.fixture
def taken(desk: Desk) -> tuple[Desk, list[str], ImportResult]:
    volumes = desk.pack(sequence=1, marking="UNCLASSIFIED")
    return desk, volumes, desk.take(volumes)


def station(desk: Desk) -> TrustSet:
    return TrustSet([NamedIdentity("station", desk.people.station.public)])


def test_every_fact_is_in_it(taken: tuple[Desk, list[str], ImportResult]) -> None:
    desk, volumes, result = taken
    receipt = desk.receipt(result)
    assert (receipt.bundle, receipt.label, receipt.marking, receipt.series, receipt.sequence, receipt.suite) == (
        result.bundle, "model", "UNCLASSIFIED", "llama", 1, "standard")
    assert (receipt.files, receipt.bytes, receipt.target) == (3, result.bytes, result.target)
    assert receipt.policy == desk.policy().digest
    assert receipt.blocks.read > 10
    assert [drive.path for drive in receipt.drives] == volumes
    assert {gate.gate: gate.not_clean for gate in receipt.gates}["content"] == 0
    names = [check.name for check in receipt.checks]
    assert names == ["signatures", "suite", "replay", "series", "sequence", "marking", "created", "expiry", "size",
                     "drives", "custody", "content size", "files", "salvage", "place", "altered blocks"]
    line = next(line for line in desk.audit() if line.number == receipt.audit.number)
    assert line.event == "examined"


def test_the_sender_holds_it_against_the_statement_that_was_kept(taken: tuple[Desk, list[str], ImportResult]) -> None:
    desk, volumes, result = taken
    kept = str(desk.place / "statement")
    Path(kept).write_bytes((Path(volumes[0]) / "statement.json").read_bytes())
    other = desk.pack("other", sequence=2)
    for about in (volumes[0], kept):
        station_api.read_receipt(result.receipt, trust=station(desk), statement=about)
    with pytest.raises(ForgedError):
        station_api.read_receipt(result.receipt, trust=station(desk), statement=other[0])
    pub = str(desk.high / "keys" / "station.pub")
    assert main(["receipt", "verify", result.receipt, "--trust", pub, "--statement", kept]) == 0
    assert main(["receipt", "verify", result.receipt, "--trust", pub, "--statement", other[0]]) == 5
    assert main(["receipt", "verify", result.receipt, "--trust", str(desk.high / "keys" / "alice.pub")]) == 5
    assert main(["receipt", "show", result.receipt]) == 0


def test_no_byte_can_be_changed(taken: tuple[Desk, list[str], ImportResult]) -> None:
    desk, _, result = taken
    path = Path(result.receipt)
    honest = path.read_bytes()
    for at in range(7, len(honest), len(honest) // 40):
        path.write_bytes(honest[:at] + bytes([honest[at] ^ 1]) + honest[at + 1:])
        with pytest.raises(AirbundleError):
            station_api.read_receipt(str(path), trust=station(desk))


def test_a_stranger_s_receipt(taken: tuple[Desk, list[str], ImportResult]) -> None:
    desk, _, result = taken
    with pytest.raises(StrangerError):
        station_api.read_receipt(result.receipt, trust=TrustSet())
    assert station_api.read_receipt(result.receipt, trust=None)[1] == desk.people.station.public.key_id


def test_the_page_is_for_paper(taken: tuple[Desk, list[str], ImportResult]) -> None:
    """At most 78 columns, and it says what the document says."""
    desk, _, result = taken
    page = Path(result.receipt.replace(".json", ".txt")).read_text()
    assert max(map(len, page.splitlines())) <= 78
    for text in (result.bundle, "alice (packer)", "rita (releaser)", desk.people.station.public.words, "UNCLASSIFIED"):
        assert text in " ".join(page.split())


def test_copied_onto_a_drive_only_when_asked(desk: Desk) -> None:
    volumes, carried = desk.pack(sequence=1), desk.place / "carried"
    carried.mkdir()
    desk.take(volumes, receipt_to=str(carried))
    error: Any = desk.refused("replay", 6, volumes, receipt_to=str(carried))
    names = sorted(os.listdir(carried))
    assert len(names) == 4
    assert os.path.basename(error.report.receipt) in names
    assert not [name for name in os.listdir(volumes[0]) if "receipt" in name]
