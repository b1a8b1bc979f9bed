"""Scanners of others: a program over the staged folder, whose exit code is mapped to one of the four results.

It gets an empty folder to be in, since some read settings from where they are, and so much time (`commands.py`). An
exit code that was not named is an error.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from airbundle.station.commands import CommandEnd, run_command
from airbundle.station.gates.result import DETAIL_MAX, GateResult, Outcome

if TYPE_CHECKING:
    from airbundle.station.gates.rules import Scanner

_VERSION_SECONDS: Final = 120


def scan_with(scanner: Scanner, folder: str, *, path: str = "") -> GateResult:
    """Run a scanner over `folder`, or over the file at `path` in it. Raises nothing for what the scanner does.

    The result is that of the whole folder, path "", unless `path` is given.
    """
    root = os.path.abspath(folder)  # never looks like an option
    places = {"folder": root, "path": os.path.join(root, path) if path else root}
    command = [_filled(part, places) for part in scanner.command]
    version = ""

    def result(outcome: Outcome, detail: str) -> GateResult:
        return GateResult(scanner.name, version, path, outcome, detail[:DETAIL_MAX])

    if scanner.version:
        said = run_command(scanner.version, environment=scanner.environment, timeout=_VERSION_SECONDS, home=False)
        version = _told(said.output.strip().split(b"\n")[0])[:100] if said.status == 0 else ""
    ran = run_command(command, environment=scanner.environment, timeout=scanner.timeout, home=False)
    if ran.status is None:
        return result(Outcome.ERROR, f"{command[0]}: {ran.said}")
    return result(_outcome(scanner, ran), f"exit {ran.status}: {_told(ran.output.strip()[-DETAIL_MAX:])}")


def _filled(part: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        part = part.replace("{" + name + "}", place)
    return part


def _outcome(scanner: Scanner, ran: CommandEnd) -> Outcome:
    if ran.status in scanner.finding:
        return Outcome.FINDING
    if ran.status in scanner.not_examined:
        return Outcome.NOT_EXAMINED
    if ran.status not in scanner.clean:
        return Outcome.ERROR
    lines = (line.strip() for line in ran.output.decode("utf-8", "replace").splitlines())
    return Outcome.NOT_EXAMINED if scanner.skipped_line and scanner.skipped_line in lines else Outcome.CLEAN


def _told(raw: bytes) -> str:
    """Output of a program as one printable line."""
    words = raw.decode("ascii", "ignore").split()
    return " ".join(word for word in words if word.isprintable())
