"""Scanners of others: a program over the staged folder, whose exit code is mapped to one of the four results.

The only place of this package that starts a process. It gets a list of arguments and no shell, no input, an
environment of its own, an empty folder to be in (some read settings from where they are) and so much time. Of what it
says only the begin and the end are kept. What it was not asked for by its exit codes is an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from airbundle.station.gates.result import DETAIL_MAX, GateResult, Outcome

if TYPE_CHECKING:
    from airbundle.station.gates.rules import Scanner

_OUTPUT_MAX: Final = 64 << 10
_VERSION_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class _Ran:
    """Exit code, none where the time was up; begin and end of what was said."""

    code: int | None
    output: bytes


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

    try:
        if scanner.version:
            said = _run(list(scanner.version), scanner, _VERSION_SECONDS)
            version = _told(said.output.strip().split(b"\n")[0])[:100] if said.code == 0 else ""
        ran = _run(command, scanner, scanner.timeout)
    except OSError as error:
        return result(Outcome.ERROR, f"{command[0]} could not be started: {error.strerror}")
    if ran.code is None:
        return result(Outcome.ERROR, f"not finished after {scanner.timeout} s")
    return result(_outcome(scanner, ran), f"exit {ran.code}: {_told(ran.output.strip()[-DETAIL_MAX:])}")


def _filled(part: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        part = part.replace("{" + name + "}", place)
    return part


def _outcome(scanner: Scanner, ran: _Ran) -> Outcome:
    if ran.code in scanner.finding:
        return Outcome.FINDING
    if ran.code in scanner.not_examined:
        return Outcome.NOT_EXAMINED
    if ran.code not in scanner.clean:
        return Outcome.ERROR
    lines = (line.strip() for line in ran.output.decode("utf-8", "replace").splitlines())
    return Outcome.NOT_EXAMINED if scanner.skipped_line and scanner.skipped_line in lines else Outcome.CLEAN


def _told(raw: bytes) -> str:
    """Output of a program as one printable line."""
    words = raw.decode("ascii", "ignore").split()
    return " ".join(word for word in words if word.isprintable())


def _run(command: list[str], scanner: Scanner, seconds: float) -> _Ran:
    """Run to the end or until the time is up; then it and what it started are killed."""
    with tempfile.TemporaryDirectory(prefix="airbundle-scan-") as own:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": own, "TMPDIR": own, "LANG": "C.UTF-8",
                       **scanner.environment}
        with subprocess.Popen(  # noqa: S603 - a list, from the policy that the station's owner wrote
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=own,
            env=environment, start_new_session=True,
        ) as process:
            assert process.stdout is not None
            kept = _Ends()
            reader = threading.Thread(target=kept.read_all, args=(process.stdout,), daemon=True)
            reader.start()
            code: int | None = None
            try:
                code = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_group(process.pid)  # also what it left behind, which would hold the pipe
                reader.join()
        return _Ran(code, kept.output())


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


class _Ends:
    """The begin and the end of a stream of any length."""

    def __init__(self) -> None:
        self._begin = b""
        self._end = b""

    def read_all(self, stream: IO[bytes]) -> None:
        """Read until the stream ends."""
        while piece := stream.read(4096):
            room = _OUTPUT_MAX - len(self._begin)
            self._begin += piece[:room]
            self._end = (self._end + piece[room:])[-_OUTPUT_MAX:]

    def output(self) -> bytes:
        """What was kept."""
        return self._begin + self._end
