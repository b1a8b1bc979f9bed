"""`docs/station.md` has the states and the codes of the program, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from airbundle import errors
from airbundle.station.gates.result import Outcome
from airbundle.station.ledger import LEDGER_RESTORED
from airbundle.station.states import MEANING, STEPS, ImportState, end_of
from airbundle.station.waivers import WAIVABLE
from tests.test_spec import error_classes

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "station.md").read_text()
# What an import never ends with: `unpack` and others do.
NOT_HERE = {"bug", "unchecked", "repairable", "interrupted", "source-changed", "unreliable-drive", "policy", "gate"}


def table(head: str) -> list[list[str]]:
    part = TEXT.split(head)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def test_the_table_of_states() -> None:
    assert {row[0]: row[1] for row in table("| state | means")} == {
        state.value: STEPS[state] for state in ImportState}


def test_the_table_of_codes() -> None:
    written = {row[0]: int(row[1]) for row in table("| code | exit")}
    known = {kind.code: kind.exit_status for kind in error_classes() if kind.code not in NOT_HERE}
    for path in (ROOT / "airbundle" / "station").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "PolicyError" and isinstance(
                    node.args[0], ast.Constant):
                known[str(node.args[0].value)] = 6
    known[LEDGER_RESTORED] = 6
    known |= {f"gate-{outcome.value}": 7 for outcome in Outcome if outcome is not Outcome.CLEAN}
    assert written == known
    assert {row[0]: row[2] for row in table("| code | exit")} == MEANING
    assert set(WAIVABLE) <= {code for code, status in written.items() if status == 6}


def test_where_each_exit_status_ends() -> None:
    ends = {kind.exit_status: end_of(kind.exit_status) for kind in error_classes()}
    assert {status for status, end in ends.items() if end is ImportState.REFUSED} == {5, 6, 7}
    assert ends[errors.IncompleteError.exit_status] is ImportState.WAITING
    assert not re.search(r"--force", TEXT)
