"""Ledger and audit log: edited, cut, put back from a backup, used by two at once."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import station_api
from airbundle.cli.main import main
from airbundle.errors import AirbundleError, DamagedError, PolicyError
from airbundle.station.audit import AuditHead, AuditLog
from airbundle.station.ledger import Ledger
from airbundle.station.state import StationState
from airbundle.station.station import Station
from tests.station.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def log_file(desk: Desk) -> Path:
    (path,) = (desk.high / "state" / "audit").iterdir()
    return path


def faults(desk: Desk) -> list[str]:
    found, _ = station_api.check_audit(str(desk.high / "state"))
    return [f"{fault.line}: {fault.what}" for fault in found]


@pytest.fixture
def used(desk: Desk) -> Desk:
    """A station with a few lines in its log."""
    desk.take(desk.pack(sequence=1))
    assert len(desk.audit()) == 7
    return desk


def edit_fourth(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b'"event":"unpacked"', b'"event":"unpackad"')


def delete_third(lines: list[bytes]) -> None:
    del lines[2]


def swap(lines: list[bytes]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def edit_last(lines: list[bytes]) -> None:
    lines[-1] = lines[-1].replace(b'"published"', b'"published "')


def cut_end(lines: list[bytes]) -> None:
    del lines[-2:]


def garbage(lines: list[bytes]) -> None:
    lines[4] = b"{}\n"


@pytest.mark.parametrize(("change", "names"), [
    (edit_fourth, "4: this line was edited"), (delete_third, "3: line 3 was deleted"), (swap, "3: line 3 was deleted"),
    (edit_last, "7: the ledger knows this line otherwise"), (cut_end, "7: the ledger knows this line otherwise"),
    (garbage, "5: this line was edited")], ids=lambda value: getattr(value, "__name__", None))
def test_what_was_done_to_the_log_is_named(used: Desk, change: Callable[[list[bytes]], None], names: str) -> None:
    path = log_file(used)
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))
    assert faults(used)[0].startswith(names)
    assert main(["audit", "verify", str(used.high / "state")]) == 4


def test_a_cut_log_stops_the_station(used: Desk) -> None:
    path = log_file(used)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    with pytest.raises(DamagedError, match="audit log does not have line 7"):
        used.take(used.pack("second", sequence=2))


def test_a_torn_last_line_is_cut_off(used: Desk) -> None:
    """A kill in the middle of a line: it was never promised to anybody."""
    with log_file(used).open("ab") as file:
        file.write(b'{"number":8,"time"')
    assert not faults(used)
    used.take(used.pack("second", sequence=2))
    assert [line.number for line in used.audit()] == list(range(1, 15))


def test_the_chain_goes_on_over_files(desk: Desk) -> None:
    with StationState(str(desk.high / "state")) as state:
        log = AuditLog(state.audit, rotate=1000)
        for number in range(40):
            log.append("tried", detail=str(number))
        assert len(state.audit.names()) > 3
        assert not list(log.faults())
        thirty = next(AuditHead(line.number, found) for _, line, found in log.lines() if line.number == 30)
        assert [line.detail for _, line in log.since(thirty)] == [str(number) for number in range(30, 40)]
        with pytest.raises(DamagedError):
            log.since(AuditHead(30, "00"))
        (Path(state.audit.folder) / state.audit.names()[1]).unlink()
        assert any("deleted" in fault.what for fault in log.faults())


def test_a_ledger_from_a_backup_is_noticed_and_brought_up_to_date(desk: Desk) -> None:
    """It would let in again what it has forgotten. Only an administrator brings it up to date, from the log."""
    desk.take(desk.pack("a", sequence=7))
    state = desk.high / "state"
    backup = desk.place / "backup"
    backup.mkdir()
    for path in state.glob("ledger*"):
        shutil.copy(path, backup)
    second = desk.pack("bb", sequence=8)
    desk.take(second)
    for path in state.glob("ledger*"):
        path.unlink()
    for path in backup.iterdir():
        shutil.copy(path, state)
    with pytest.raises(PolicyError) as caught:
        desk.take(second)
    assert caught.value.code == "ledger-restored"
    last = caught.value.hint.split("waive ")[1].split()[0]
    waiver = str(desk.place / "waiver")
    key = desk.place / "admin.key"
    key.write_bytes(station_key(desk, "admin"))
    assert main(["waive", last, "--allow", "ledger-restored", "--reason", "disk was exchanged", "--sign", str(key),
                 "-o", waiver]) == 0
    with pytest.raises(PolicyError) as caught:
        desk.take(second, waivers=[waiver])
    assert caught.value.code == "replay"
    with Station(desk.policy()) as station:
        assert station.ledger.highest("llama") == 8
    (line,) = (line for line in desk.audit() if line.event == "ledger brought up to date")
    assert line.detail == "from line 7: disk was exchanged"


def station_key(desk: Desk, name: str) -> bytes:
    from airbundle.crypto.keyfiles import write_private

    return write_private(name, getattr(desk.people, name), passphrase=None)


def test_two_imports_at_once(desk: Desk) -> None:
    """Of different bundles both come in; of the same one only one does. Ledger and log hold."""
    bundles = [desk.pack(name, sequence=number, series=name, label=name)
               for number, name in enumerate(("a", "bb", "ccc"), 1)]
    ends: list[Any] = []

    def take(volumes: list[str]) -> None:
        try:
            ends.append(desk.take(volumes).state)
        except AirbundleError as error:
            ends.append(error.code)

    threads = [threading.Thread(target=take, args=(volumes,)) for volumes in (*bundles, bundles[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("published") == 3
    assert set(ends) - {"published"} <= {"replay", "usage"}
    assert len([line for line in desk.audit() if line.event == "published"]) == 3


def test_two_of_a_series_at_once(desk: Desk) -> None:
    """Whoever publishes second has to be the later one, whatever both saw when they were let in."""
    older, newer = desk.pack("a", sequence=1), desk.pack("bb", sequence=2)
    script = "import sys; from airbundle.cli.main import main; sys.exit(main(sys.argv[1:]))"
    running = [subprocess.Popen([sys.executable, "-c", script, "import", *volumes, "--policy", str(desk.file),
                                 "--progress", "none"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for volumes in (newer, older)]
    statuses = [process.wait() for process in running]
    assert statuses[0] == 0
    assert statuses[1] in {0, 6}
    order = [line.facts["sequence"] for line in desk.audit() if line.event == "published"]
    assert order == sorted(order, key=int)  # type: ignore[arg-type]


def test_any_byte_of_the_log(used: Desk) -> None:
    """One bit anywhere is noticed."""
    path = log_file(used)
    honest = path.read_bytes()
    draw = random.Random(1)
    for _ in range(60):
        at = draw.randrange(len(honest))
        path.write_bytes(honest[:at] + bytes([honest[at] ^ 1 << draw.randrange(8)]) + honest[at + 1:])
        assert faults(used), at


def test_files_of_others_in_the_folder_of_the_log(used: Desk) -> None:
    """A copy that somebody left there, or what an editor leaves, is no part of it."""
    path = log_file(used)
    shutil.copy(path, path.with_name("backup.jsonl"))
    path.with_name(".000001.jsonl.swp.jsonl").write_text("x\n")
    used.take(used.pack("second", sequence=2))
    assert [line.number for line in used.audit()] == list(range(1, 15))


def test_the_log_goes_on_where_older_files_were_moved_away(desk: Desk) -> None:
    desk.rule('[audit]\nrotate = "300"\n')
    desk.take(desk.pack("a", sequence=1))
    folder = desk.high / "state" / "audit"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) > 3
    for name in names[:-1]:
        (folder / name).rename(desk.place / name)
    for number, name in enumerate(("bb", "ccc"), 2):
        desk.take(desk.pack(name, sequence=number))
    assert len(faults(desk)) == 1  # that the first lines are not here
    for name in names[:-1]:
        (desk.place / name).rename(folder / name)
    assert [line.number for line in desk.audit()] == list(range(1, 22))


def test_a_ledger_that_was_begun_anew_is_named(used: Desk) -> None:
    for path in (used.high / "state").glob("ledger*"):
        path.unlink()
    assert faults(used) == ["0: there is no ledger that knows how the log ends"]
    with StationState(str(used.high / "state")) as state:
        Ledger(state, AuditLog(state.audit, rotate=1000))
    assert faults(used) == ["0: the ledger knows no later line: it was put back from a backup"]


def test_a_ledger_is_not_brought_up_to_date_from_a_part(desk: Desk) -> None:
    """What was published in lines that are not there, or that somebody edited, would be forgotten and let in again."""
    desk.rule('[audit]\nrotate = "300"\n')
    for number, name in enumerate(("a", "bb"), 1):
        desk.take(desk.pack(name, sequence=number))
    for path in (desk.high / "state").glob("ledger*"):
        path.unlink()
    folder = desk.high / "state" / "audit"
    first = folder / min(path.name for path in folder.iterdir())
    honest = first.read_bytes()
    first.write_bytes(honest.replace(b'"found"', b'"fount"'))
    with pytest.raises(DamagedError, match="does not follow"):
        desk.take(desk.pack("ccc", sequence=3))
    first.unlink()
    with pytest.raises(DamagedError, match="does not follow"):
        desk.take(desk.pack("dddd", sequence=3))
    first.write_bytes(honest)
    with pytest.raises(PolicyError, match="put back from a backup"):
        desk.take(desk.pack("eeeee", sequence=3))
