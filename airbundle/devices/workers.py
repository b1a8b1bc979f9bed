"""The watcher's end of a process that reads media for it, without its privileges.

The process is started once, is another user from its first question on where the watcher is root, and forks a confined
child for each thing that is asked of it (`airbundle/cli/confined.py`). If it dies, what it was asked has failed, and
the next question starts another.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from airbundle.devices.messages import ANSWERS, LINE_MAX, EndedAnswer, to_line
from airbundle.errors import UsageError
from airbundle.format.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airbundle.devices.messages import Answer, Request

# -P: what lies in the folder where the watcher was started is no program of ours, and is not to be read either.
_PROGRAM: Final = (sys.executable, "-P", "-m", "airbundle.cli.confined")
_PIECE: Final = 64 << 10
_NOBODY: Final = 65534
_GOODBYE: Final = 12  # seconds for an import to note that it was stopped, and for all that it started to end
_AT_ONCE: Final = 0.2
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONPATH", "PYTHONPROFILEIMPORTTIME", "TZ")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads media: a user and its groups."""

    name: str
    user: int
    group: int
    groups: tuple[int, ...]
    home: str = "/"

    def in_words(self) -> str:
        """As an argument of `airbundle/cli/confined.py`."""
        return ":".join(map(str, (self.user, self.group, *self.groups)))

    def as_arguments(self) -> dict[str, Any]:
        """What makes `subprocess.Popen` start a program as this user."""
        if self.user == os.geteuid():
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": self.groups}


def reader_of(name: str, path: str) -> Reader | None:
    """Who reads media: the user `name`, or the owner of `path`; None where this process is not root and cannot choose.

    Raises UsageError for a user that is not known, and for root: what strangers wrote is not read with privileges.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.stat(path).st_uid)
    except (KeyError, OSError):
        raise UsageError(f"there is no user '{shown(name)}' here" if name else "its owner has no name here",
                         where=path, hint="name one by [watch] user") from None
    owner = os.stat(path).st_uid
    if owner not in {0, entry.pw_uid}:
        raise UsageError(f"it belongs to another user than '{shown(entry.pw_name)}', whom it names by [watch] user",
                         where=path, hint="only a policy that belongs to root may name somebody else than its owner")
    if entry.pw_uid == 0:
        raise UsageError("drives would be read as root", where=path,
                         hint="name another by [watch] user, and give it the station's folders: chown -R USER FOLDER")
    return Reader(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
                  entry.pw_dir)


def nobody() -> Reader | None:
    """The user for what belongs to no station; None where this process cannot choose."""
    return Reader("nobody", _NOBODY, _NOBODY, ()) if os.geteuid() == 0 else None


class ReadingWorker:
    """One such process. `busy` is what it was asked and has not answered."""

    def __init__(self, reader: Reader | None, policy: str = "", tighter: Sequence[tuple[str, str]] = ()) -> None:
        self._reader = reader
        self._arguments = [policy, *(f"{name}={value}" for name, value in tighter)]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self.busy: Request | None = None

    def start(self) -> None:
        """Start it, if it does not run, so that the first question is answered at once."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._rest = b""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*_PROGRAM, self._reader.in_words() if self._reader is not None else "", *self._arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {
                "HOME": self._reader.home if self._reader is not None else os.environ.get("HOME", "/"),
                "OPENBLAS_NUM_THREADS": "1"})
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def ask(self, request: Request) -> None:
        """Ask; the answer comes later. One question at a time."""
        assert self.busy is None
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        self.busy = request
        with contextlib.suppress(OSError):  # it has died: `answers` says so
            self._process.stdin.write(to_line(request))
            self._process.stdin.flush()

    def descriptor(self) -> int:
        """What to poll for answers; -1 if it does not run."""
        return self._process.stdout.fileno() if self._process is not None and self._process.stdout is not None else -1

    def answers(self) -> Iterator[Answer]:
        """What it has said; does not wait. What is no answer, or about something else, ends it."""
        if self._process is None or self._process.stdout is None:
            return
        while True:
            try:
                piece = os.read(self._process.stdout.fileno(), _PIECE)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                answer = self._checked(line)
                if answer is None:
                    yield from self._died("said something that is no answer")
                    return
                yield answer
            if not piece or len(self._rest) > LINE_MAX:
                yield from self._died("ended" if not piece else "said something that is no answer")
                return

    def settle(self, request: Request) -> Iterator[Answer]:
        """Ask, and wait for each answer until the last."""
        self.ask(request)
        while self.busy is not None:
            select.select([self.descriptor()], [], [])
            yield from self.answers()

    def stop(self) -> None:
        """End it, and what it is doing."""
        stop_workers((self,))

    def abandon(self) -> None:
        """End it at once. What it was asked is never answered."""
        self._hang_up(subprocess.Popen.kill)

    def _hang_up(self, end: Callable[[subprocess.Popen[bytes]], None]) -> subprocess.Popen[bytes] | None:
        """Let go of it, and begin to end it."""
        process, self._process = self._process, None
        self.busy, self._rest = None, b""
        if process is not None:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            end(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_AT_ONCE)
        return process

    def _checked(self, line: bytes) -> Answer | None:
        try:
            answer: Answer = ANSWERS.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if self.busy is None or answer.ticket != self.busy.ticket:
            return None
        if isinstance(answer, EndedAnswer):
            self.busy = None
        return answer

    def _died(self, how: str) -> Iterator[Answer]:
        asked = self.busy
        self.stop()
        if asked is not None:
            yield EndedAnswer(ticket=asked.ticket, exit_status=1, code="bug",
                              what=f"the process that reads drives {how}",
                              hint="the next drive starts another; see the system's log")


def stop_workers(workers: Iterable[ReadingWorker]) -> None:
    """End them, and what they are doing; an import may note that it was stopped. They have one deadline together."""
    deadline = time.monotonic() + _GOODBYE
    ending = [worker._hang_up(subprocess.Popen.terminate) for worker in workers]  # noqa: SLF001 - of this module
    for process in filter(None, ending):
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel may hold it for as long as a device hangs
                process.wait(_AT_ONCE)
