"""Programs that a policy names, scanners and the hook: the only module of the station that starts a process.

Each gets a list of arguments and no shell, no input, and a small environment. What takes too long, and what it has left
behind, is killed with all that it started. Of what it says only the begin and the end are kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from airbundle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airbundle.devices.workers import Reader

_PASSED_ON: Final = ("PATH", "HOME", "LANG")
_LAST_WORDS: Final = 5.0  # seconds
_OUTPUT_MAX: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a program ended: its exit status, None if it could not be run or took too long, that in words, its output."""

    status: int | None
    said: str
    output: bytes = b""


def require_program(command: Sequence[str], what: str) -> None:
    """Raise UsageError unless the program that a policy names is there, before anything is read for it."""
    if shutil.which(command[0]) is None:
        raise UsageError(f"{what} is not installed: {command[0]}", hint="install it, or take it out of the policy")


def run_command(command: Sequence[str], *, environment: Mapping[str, str], timeout: float,
                home: bool = True, reader: Reader | None = None) -> CommandEnd:
    """Run a program, as `reader` if one is given.

    With `home` it has that of this user, without an empty one, which it is also started in.
    """
    with _place(home=home, reader=reader) as (folder, passed):
        try:
            process = subprocess.Popen(  # noqa: S603 - a list, from the policy that the station's owner wrote
                list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
                env={**passed, **environment}, start_new_session=True,
                **(reader.as_arguments() if reader is not None else {}))
        except OSError as error:
            return CommandEnd(None, f"could not be started: {error.strerror}")
        with process:
            assert process.stdout is not None
            kept, status = _Ends(), None
            draining = threading.Thread(target=kept.read_all, args=(process.stdout,), daemon=True)
            draining.start()
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_session(process.pid)  # also what it left behind, which would hold the pipe
                draining.join(_LAST_WORDS)  # a grandchild in a session of its own may hold the pipe for ever
    said = f"not finished after {timeout:.0f} s" if status is None else f"ended with {status}"
    return CommandEnd(status, said, kept.output())


@contextlib.contextmanager
def _place(*, home: bool, reader: Reader | None) -> Iterator[tuple[str | None, dict[str, str]]]:
    """Where a program is started, and what of the environment it gets."""
    if home:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        yield (None, passed) if reader is None else (os.sep, {**passed, "HOME": reader.home})
        return
    with tempfile.TemporaryDirectory(prefix="airbundle-scan-") as own:
        yield own, {"PATH": os.environ.get("PATH", os.defpath), "HOME": own, "TMPDIR": own, "LANG": "C.UTF-8"}


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


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
