"""Two packers and a releaser, one signature of each role: what comes in, and every way in which it does not."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import write_public
from airbundle.errors import IncompleteError, PolicyError
from airbundle.format.dsse import parse_envelope
from airbundle.format.statement import STATEMENT_TYPE, parse_statement
from airbundle.format.statement import write_statement as statement_json
from airbundle.station.intake import intake
from airbundle.station.states import ENDS, NEXT, ImportState
from airbundle.station.station import Station
from tests.station.desk import DAY, Desk
from tests.transfer.forge import write_statement
from tests.transfer.workshop import PACE, Keys, block_of, digests, flip, overwrite, with_digest

if TYPE_CHECKING:
    from airbundle.station.intake import ImportResult

HUB = '[publish]\nlayout = "hf-cache"\n'


def at(desk: Desk, volumes: list[str], clock: float) -> ImportResult:
    """Import with the station's clock at another time."""
    with Station(desk.policy(), clock=int(clock)) as station:
        return intake(volumes, station, pace=PACE)


def refused_at(desk: Desk, volumes: list[str], clock: float, code: str) -> str:
    with pytest.raises(PolicyError) as caught:
        at(desk, volumes, clock)
    error: Any = caught.value
    assert error.code == code, repr(error)
    assert desk.receipt(error.report).code == code
    return str(error.hint)


def test_three_drives_one_lost_into_a_model_cache(desk: Desk) -> None:
    desk.rule(HUB)
    volumes = desk.pack(drives=3, sequence=41, meta=[("hf-repo", "org/model"), ("hf-revision", "ab" * 20)])
    shutil.rmtree(volumes[1])
    states: list[ImportState] = []
    result = desk.take([volumes[0], volumes[2]], announce=states.append)
    assert [*states] == ["begun", "found", "admitted", "opened", "unpacked", "examined", "published"]
    root = desk.high / "models" / "models--org--model"
    snapshot = root / "snapshots" / ("ab" * 20)
    assert result.target == str(snapshot)
    assert (root / "refs" / "main").read_text() == "ab" * 20
    source = digests(desk.place / "one" / "source")
    assert digests(snapshot) == source
    links = {name: os.readlink(snapshot / name) for name in source}
    assert links["model.safetensors"] == f"../../blobs/{source['model.safetensors']}"
    assert len(os.path.basename(links["config.json"])) == 40  # as git names it
    receipt = desk.receipt(result)
    assert (receipt.state, receipt.sequence, receipt.files, receipt.volumes) == ("published", 41, 3, 3)
    assert [signer.name for signer in receipt.signers] == ["alice", "rita"]
    assert {check.outcome for check in receipt.checks} == {"passed"}
    assert [line.event for line in desk.audit()] == [
        "found", "admitted", "opened", "unpacked", "examined", "intended", "published"]
    assert not os.listdir(desk.high / "models" / ".airbundle-staging")


def test_one_drive_after_another(desk: Desk) -> None:
    volumes = desk.pack(drives=3, sequence=1)
    error: Any = desk.refused("incomplete", 3, [volumes[1]])
    assert desk.receipt(error.report).state == "waiting"
    with contextlib.suppress(IncompleteError):  # any two of the three, but one of them perhaps twice
        result = desk.take([volumes[2]])
    if not desk.published():
        result = desk.take([volumes[1]])
    assert digests(Path(result.target)) == digests(desk.place / "one" / "source")


def test_plain_and_the_link_to_the_newest(desk: Desk) -> None:
    first, second = desk.take(desk.pack("one", sequence=1)), desk.take(desk.pack("second", sequence=2))
    folder = desk.high / "models" / "model"
    assert (first.target, second.target) == (str(folder / first.bundle), str(folder / second.bundle))
    assert os.readlink(folder / "current") == second.bundle
    assert digests(folder / "current") == digests(desk.place / "second" / "source")


def test_replay(desk: Desk) -> None:
    volumes = desk.pack(sequence=1)
    result = desk.take(volumes)
    error = desk.refused("replay", 6, volumes)
    assert result.target in str(error)
    shutil.rmtree(result.target)
    desk.refused("replay", 6, volumes)


def test_rollback_and_steps(desk: Desk) -> None:
    desk.rule('[[series]]\nname = "lla*"\nlargest-step = 10\n')
    desk.take(desk.pack("a", sequence=43))
    error = desk.refused("rollback", 6, desk.pack("bb", sequence=41))
    assert "series llama: this is 41, the station has 43" in str(error)
    desk.refused("rollback", 6, desk.pack("ccc", sequence=43))
    desk.refused("step", 6, desk.pack("dddd", sequence=54))
    desk.take(desk.pack("eeeee", sequence=53))


def test_a_statement_alone_burns_no_number(desk: Desk) -> None:
    volumes = desk.pack("a", sequence=50)
    for name in os.listdir(volumes[0]):
        if name[:8].isdigit():
            os.unlink(os.path.join(volumes[0], name))
    desk.refused("damaged", 4, volumes)
    desk.take(desk.pack("bb", sequence=2))


def test_expired_and_dated_into_the_future(desk: Desk) -> None:
    now = time.time()
    volumes = desk.pack(sequence=1, expires=int(now) + 10 * DAY)
    refused_at(desk, volumes, now + 10 * DAY, "expired")
    refused_at(desk, volumes, now - 2 * DAY, "future-dated")
    assert at(desk, volumes, now + 9 * DAY).state == "published"


def test_a_clock_that_stands_still_at_1970(desk: Desk) -> None:
    """What was published is a clock too: what has expired by it is refused, and nothing can push it on."""
    now = time.time()
    old = desk.pack("old", sequence=1, series="a", label="a", expires=int(now) + 5)
    hint = refused_at(desk, old, 0, "future-dated")
    assert hint
    at(desk, desk.pack("new", sequence=1, series="b", label="b"), now + 1)
    third = desk.pack("third", sequence=1, series="c", label="c")
    result = at(desk, third, 0)
    assert "1970-01-01" in result.clock
    receipt = desk.receipt(result)
    assert receipt.clock == result.clock
    assert any(check.outcome == "noted" for check in receipt.checks)
    with Station(desk.policy(), clock=0) as station:
        assert abs(station.ledger.newest() - now) < 60


def test_one_bad_date_does_not_poison_the_station(desk: Desk, people_far_ahead: list[str]) -> None:
    desk.refused("future-dated", 6, people_far_ahead)
    desk.take(desk.pack("good", sequence=2, expires=int(time.time()) + DAY))


@pytest.fixture
def people_far_ahead(desk: Desk) -> list[str]:
    """Packed by a machine whose clock is in 2099."""
    volumes = desk.pack("ahead", sequence=1, released=False)
    restate(desk, volumes[0], created=4_070_908_800)
    return volumes


def restate(desk: Desk, volume: str, **changes: object) -> None:
    """The packer signs another statement about the same bundle."""
    raw = (Path(volume) / "statement.json").read_bytes()
    statement = parse_statement(parse_envelope(raw, STATEMENT_TYPE).payload)
    people = desk.people
    keys = Keys(people.alice, people.station, people.station, people.mallory)
    write_statement(Path(volume), keys, statement_json(msgspec.structs.replace(statement, **changes)))
    desk.release([volume])


def test_a_stranger(desk: Desk) -> None:
    volumes = desk.pack(by=desk.people.mallory, released=False, sequence=1)
    error = desk.refused("stranger", 5, volumes)
    receipt = desk.receipt(error.report)  # type: ignore[arg-type]
    assert (receipt.label, receipt.series) == ("", None)
    assert [(signer.key, signer.name) for signer in receipt.signers] == [(desk.people.mallory.public.key_id.hex(), "")]


def test_a_releaser_is_no_packer(desk: Desk) -> None:
    desk.refused("missing-signature", 5, desk.pack(by=desk.people.rita, released=False, sequence=1))


def test_the_second_signature_is_missing(desk: Desk) -> None:
    volumes = desk.pack(sequence=1, released=False)
    error = desk.refused("missing-signature", 5, volumes)
    assert "1 more releaser" in str(error)
    desk.release(volumes, by=desk.people.bob)  # a second packer is no releaser
    desk.refused("missing-signature", 5, volumes)
    desk.release(volumes)
    desk.take(volumes)


def test_one_key_with_two_roles_counts_once(desk: Desk) -> None:
    text = desk.file.read_text().replace('file = "keys/alice.pub"\nroles = ["packer"]',
                                         'file = "keys/alice.pub"\nroles = ["packer", "releaser"]')
    desk.file.write_text(text)
    volumes = desk.pack(sequence=1, released=False)
    desk.refused("missing-signature", 5, volumes)
    desk.release(volumes, by=desk.people.bob)  # bob packs, alice releases: two keys for two places
    desk.take(volumes)


def test_a_weaker_suite(desk: Desk) -> None:
    desk.rule('[bundle]\nsuite = "cnsa2"\n')
    desk.refused("weaker-suite", 6, desk.pack(sequence=1))


def test_a_changed_serial(desk: Desk) -> None:
    volumes = desk.pack(sequence=1, released=False)
    raw = (Path(volumes[0]) / "statement.json").read_bytes()
    row = parse_statement(parse_envelope(raw, STATEMENT_TYPE).payload).volumes[0]
    restate(desk, volumes[0], volumes=(msgspec.structs.replace(row, serial="WD-4711"),))
    desk.rule('[devices]\nrecorded-serial = "refuse"\n')
    error = desk.refused("changed-serial", 6, volumes)
    assert "WD-4711" in str(error)
    desk.rule('[devices]\nrecorded-serial = "report"\n')
    result = desk.take(volumes)
    assert any("WD-4711" in note for note in result.notes)
    assert desk.receipt(result).drives[0].recorded == "WD-4711"


def test_a_drive_that_the_policy_does_not_name(desk: Desk) -> None:
    desk.rule('[devices]\nserials = ["WD-4711"]\n')
    desk.refused("unknown-drive", 6, desk.pack(sequence=1))


def test_an_altered_block_is_refused_and_a_damaged_one_is_not(desk: Desk) -> None:
    damaged, altered = desk.pack("damaged", sequence=1), desk.pack("altered", sequence=2)
    for volumes, forged in ((damaged, False), (altered, True)):
        segment = Path(volumes[0]) / "00000000.abs"
        size = int.from_bytes(segment.read_bytes()[68:72], "little")
        flip(segment, 5 * size + 300)
        if forged:
            overwrite(segment, 5 * size, with_digest(block_of(segment, 5, size)))
    result = desk.take(damaged)
    assert desk.receipt(result).blocks.damaged == 1
    error = desk.refused("altered-blocks", 6, altered)
    assert desk.receipt(error.report).blocks.altered == 1  # type: ignore[arg-type]
    assert not os.listdir(desk.high / "models" / ".airbundle-staging")
    desk.rule('[bundle]\naltered-blocks = "accept"\n')
    desk.take(altered)


def test_markings_and_expiry_that_are_required(desk: Desk) -> None:
    desk.rule('[bundle]\nmarking-required = true\nmarkings = ["UNCLASSIFIED*"]\nexpiry-required = true\n'
              'longest-life = "30d"\nseries-required = true\n')
    soon = int(time.time()) + DAY
    desk.refused("marking", 6, desk.pack("a", sequence=1, expires=soon))
    desk.refused("marking", 6, desk.pack("bb", sequence=1, expires=soon, marking="SECRET"))
    desk.refused("no-expiry", 6, desk.pack("ccc", sequence=1, marking="UNCLASSIFIED"))
    desk.refused("long-life", 6, desk.pack("dddd", sequence=1, marking="UNCLASSIFIED", expires=soon + 40 * DAY))
    desk.refused("series", 6, desk.pack("eeeee", marking="UNCLASSIFIED", expires=soon))
    desk.take(desk.pack("ffffff", sequence=1, marking="UNCLASSIFIED//FOUO", expires=soon))


def test_series_are_bound_to_packers(desk: Desk) -> None:
    desk.rule('[[series]]\nname = "llama"\npackers = ["bob"]\n')
    desk.refused("series", 6, desk.pack("a", sequence=1))
    desk.refused("series", 6, desk.pack("bb", sequence=1, series="other", by=desk.people.bob))
    desk.take(desk.pack("ccc", sequence=1, by=desk.people.bob))


def test_sizes(desk: Desk) -> None:
    volumes = desk.pack(sequence=1)
    desk.rule("[bundle]\nmost-files = 2\n")
    desk.refused("too-many-files", 6, volumes)
    desk.rule('[bundle]\nlargest-size = "100K"\n')
    desk.refused("too-large", 6, volumes)


def test_another_station_cannot_open_it(desk: Desk) -> None:
    volumes = desk.pack(sequence=1)
    other = generate()
    (desk.high / "keys" / "other.pub").write_bytes(write_public("other", other.public))
    drive = desk.place / "elsewhere"
    drive.mkdir()
    result = api.pack(str(desk.place / "one" / "source"), str(drive), sign=desk.people.alice, to=[other.public])
    desk.release(result.volumes)
    desk.refused("no-key", 8, list(result.volumes))
    desk.take(volumes)


def test_the_table_of_states() -> None:
    assert set(NEXT) | ENDS == set(ImportState)
    assert all(NEXT[state] for state in NEXT)
    assert not set(NEXT) & ENDS
