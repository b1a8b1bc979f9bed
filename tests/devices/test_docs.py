"""`docs/watching.md` has the states, events, fields and variables of the program, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from airbundle.cli.live import change_line
from airbundle.devices.block import BlockDevice
from airbundle.devices.drive_states import MEANING, NEXT, DriveState
from airbundle.devices.gathering import Change, ImportEnd
from airbundle.devices.hooks import hook_environment
from airbundle.devices.mounting import OPTIONS, WANTED
from airbundle.devices.rules import FIELDS
from airbundle.devices.sources import SOURCES
from airbundle.transfer.verdict import PRECEDENCE
from tests.devices.test_systemd import EXPOSURE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "watching.md").read_text()
CHANGE = Change(BlockDevice("sda:1", "/dev/sda"), "published", DriveState.IMPORTED, end=ImportEnd(0))


def table(head: str) -> list[list[str]]:
    part = TEXT.split(head)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def test_the_table_of_states() -> None:
    assert table("| state | means") == [
        [state.value, MEANING[state],
         ", ".join(f"{after.value} ({event.value})" for event, after in NEXT[state].items())
         or "nothing: the next plug is another drive"] for state in DriveState]


def test_the_variables_of_a_hook() -> None:
    assert set(re.findall(r"`(AIRBUNDLE_\w+)`", TEXT)) == set(hook_environment(CHANGE))


def test_the_fields_of_json() -> None:
    part = TEXT.split("## `--json`")[1].split("##")[0]
    line = change_line(CHANGE)
    named = set(re.findall(r"`(\w+)`", part))
    assert named - {"plug", "progress", "receipt", "phase", "done", "total"} == (
        set(line) | set(line["drive"]) | set(line["import"])) - {"receipt"}


def test_what_is_mounted_and_heard() -> None:
    assert f"File systems: {', '.join(kind for kind in OPTIONS)}." in TEXT.replace("\n", " ") or sorted(
        re.findall(r"File systems: ([^.]*)\.", TEXT.replace("\n", " "))[0].split(", ")) == sorted(OPTIONS)
    assert set(re.findall(r"`([a-z,]+)`, without a replay", TEXT)[0].split(",")) == WANTED
    assert {row[0] for row in table("| `--source`")} == {f"`{name}`" for name in SOURCES[1:]} | {"`--mounts DIR`"}
    for name in FIELDS:
        assert f"`{name}`" in TEXT
    assert ", ".join(map(str, PRECEDENCE)) in TEXT.replace("\n", " ")


def test_how_exposed_the_services_are() -> None:
    assert f"gives them {EXPOSURE['airbundle-watch.service']} and {EXPOSURE['airbundle-watch-mounts.service']}" in TEXT
