"""The process that reads media for the watcher: no privileges, no network, and nothing written outside the station.

It is started by `airbundle watch` and `drives` alone, and hears nobody else. Everything is imported first, since who
reads drives need not be able to read this program. Each question is answered by a child that becomes that user, is
confined for good to what the question needs, and is gone afterwards with all that it started. What a drive does to one
child, the next one does not see.
"""

from __future__ import annotations

import codecs
import concurrent.futures.thread  # noqa: F401 - what is imported late elsewhere
import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Final

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - its own functions import it when they are called

from airbundle import station_api
from airbundle.devices.messages import (
    LINE_MAX,
    REQUESTS,
    Answer,
    BarredRequest,
    EndedAnswer,
    FoundAnswer,
    HeldAnswer,
    ImportRequest,
    LookRequest,
    ProgressAnswer,
    Request,
    from_hex,
    to_hex,
    to_line,
)
from airbundle.devices.sandbox import become, begin_own_processes, confine, end_own_processes
from airbundle.errors import AirbundleError, InterruptedRunError, PolicyError
from airbundle.format.names import shown
from airbundle.media.streams import make_private
from airbundle.station.intake import ImportResult
from airbundle.station.policy import load_policy
from airbundle.transfer.finding import bundles_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from airbundle.station.policy import LoadedPolicy
    from airbundle.station.states import ImportState
    from airbundle.transfer.progress import Tick

_ENCODINGS: Final = ("ascii", "idna", "latin-1", "unicode_escape", "utf-8", "utf-8-sig", "utf-16", "utf-16-le")
_END_WITH_PARENT: Final = 1  # prctl(PR_SET_PDEATHSIG)
_PARENT: Final = 3  # descriptor in a child
_NOTING: Final = 8  # seconds for an import to note that it was stopped
_EVERY: Final = 0.2  # seconds between two lines of progress
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/disk")
_PROGRAMS: Final = ("/usr", "/lib", "/lib64", "/bin", "/opt", "/etc")


def serve(arguments: Sequence[str]) -> int:
    """Answer until nobody asks any more.

    `arguments`: whom to become, as numbers of user and groups, or ''; the policy or ''; NAME=VALUE that tighten it.
    """
    for encoding in _ENCODINGS:  # each is a module, and is imported when it is first used
        codecs.lookup(encoding)
    who, policy, *more = arguments
    tighter = [(name, value) for name, _, value in (one.partition("=") for one in more)]
    os.chdir("/")
    _end_with_parent()
    server = _Server()
    signal.signal(signal.SIGTERM, server.end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watcher decides
    while line := sys.stdin.buffer.readline(LINE_MAX):
        request = REQUESTS.decode(line)
        said = server.answer(partial(_in_child, request, who, policy, tighter))
        if said:
            _tell(EndedAnswer(ticket=request.ticket, exit_status=1, code="bug",
                              what=f"the process that read the drive {said}"), sys.stdout.fileno())
    return 0


class _Server:
    """Forks a process for each question, and passes on what it says for as long as it lives.

    It has a pipe of its own, and what it started ends with it: nobody answers the next question but the next process.
    """

    def __init__(self) -> None:
        self._child = 0
        self._alive = os.pidfd_open(os.getpid())

    def answer(self, work: Callable[[], int]) -> str:
        """Have a child do `work`; gives how it ended, if not well."""
        answers, theirs = os.pipe()
        own = begin_own_processes()
        self._child = os.fork()
        if not self._child:
            try:
                _take_streams(theirs, self._alive)
                os._exit(work())
            finally:
                os._exit(1)
        end_own_processes(own)
        os.close(theirs)
        ended = os.pidfd_open(self._child)
        try:
            _pass_on(answers, ended)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)  # where it could not have processes of its own
            child, self._child = self._child, 0
            _, status = os.waitpid(child, 0)
            os.close(answers)
            os.close(ended)
        if os.WIFSIGNALED(status):
            return f"was killed by signal {os.WTERMSIG(status)}"
        return f"ended with {os.WEXITSTATUS(status)}" if status else ""

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """The watcher wants no more: an import may note that it was stopped, and then all of it ends."""
        if self._child:
            with contextlib.suppress(OSError):
                os.kill(self._child, signal.SIGINT)
                poll = select.poll()
                poll.register(os.pidfd_open(self._child), select.POLLIN)
                poll.poll(_NOTING * 1000)
                os.kill(self._child, signal.SIGKILL)
        os._exit(0)


def _take_streams(answers: int, parent: int) -> None:
    """A child says its answers and nothing else, hears nothing, and has nothing that its parent has open.

    But that which says whether its `parent` lives, as _PARENT.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for target, source in enumerate([os.dup(one) for one in (null, answers, null, parent)]):
        os.dup2(source, target)
    os.closerange(_PARENT + 1, 1 << 16)
    os.setsid()


def _pass_on(answers: int, ended: int) -> None:
    """Hand on what comes on the pipe `answers`, until the child has ended and all that it said is handed on."""
    os.set_blocking(answers, False)
    waiting = {answers, ended}
    while ended in waiting:
        ready, _, _ = select.select(waiting, (), ())
        waiting -= {ended} & {*ready}
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(answers, LINE_MAX):
                _write(piece, sys.stdout.fileno())
            waiting.discard(answers)  # it has closed its end, and may live on


def _end_with_parent(parent: int = -1) -> None:
    """Also where the `parent`, a descriptor of it, has ended before this could be asked for."""
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if parent >= 0 and select.select([parent], [], [], 0)[0]:
        os._exit(1)


def _in_child(request: Request, who: str, path: str, tighter: Sequence[tuple[str, str]]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if who:
            user, group, *groups = map(int, who.split(":"))
            become(user, group, groups)
        _end_with_parent(_PARENT)  # another user has to ask anew
        if isinstance(request, LookRequest):
            confine(readable=[*_SYSTEM, *_own(path), from_hex(request.point)], writable=[])
            _look(request)
        else:
            policy = load_policy(path, tighter)
            _confine(policy, request)
            if isinstance(request, BarredRequest):
                _bar(request, policy)
            else:
                _import(request, policy)
    except AirbundleError as error:
        _tell(_ended(request, error))
    except KeyboardInterrupt:
        _tell(_ended(request, InterruptedRunError("stopped")))
    except Exception as error:  # noqa: BLE001 - the last line of a process of its own
        where = traceback.extract_tb(error.__traceback__)[-1]
        _tell(EndedAnswer(ticket=request.ticket, exit_status=1, code="bug", what=_cut(
            f"a bug: {type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})")))
    return 0


def _own(policy: str) -> list[str]:
    """Where this program and its libraries lie; no folder in which the policy lies."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, package, *filter(os.path.isabs, sys.path)}
    real = os.path.realpath(policy or os.devnull)
    return [place for place in places if not real.startswith(os.path.realpath(place).rstrip(os.sep) + os.sep)]


def _confine(policy: LoadedPolicy, request: ImportRequest | BarredRequest) -> None:
    """From here on only the drives and the policy are read, and the station's folders are written."""
    rules, own = policy.rules, _own(policy.path)
    files = [*(key.file for key in rules.keys), rules.station.key, *rules.station.open_with]
    writable = [make_private(policy.state), policy.root, *filter(None, (policy.receipts_to,))]
    for folder in writable:  # a rule is for what is there
        os.makedirs(folder, exist_ok=True)
    media, runnable = [], []
    if isinstance(request, ImportRequest):
        media = [from_hex(place) for place in request.places]
        if rules.gates.scanners or rules.publish.hook:
            hook = shutil.which(rules.publish.hook[0]) if rules.publish.hook else None
            runnable = [*_apart([*_PROGRAMS, *own], writable), *filter(None, (hook,))]
            writable.append(tempfile.gettempdir())
    confine(readable=[*_SYSTEM, *own, *media, policy.folder, *(os.path.join(policy.folder, file) for file in files)],
            writable=writable, runnable=runnable, sockets=rules.audit.syslog or bool(runnable))


def _apart(places: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Those of `places` that hold none of `folders`: nothing is run from where something is written."""
    real = [os.path.realpath(folder) + os.sep for folder in folders]
    return [place for place in places
            if not any(folder.startswith(os.path.realpath(place).rstrip(os.sep) + os.sep) for folder in real)]


def _look(request: LookRequest) -> None:
    found = bundles_at(from_hex(request.point))
    _tell(FoundAnswer(ticket=request.ticket, held=tuple(
        HeldAnswer(bundle, tuple(map(to_hex, folders))) for bundle, folders in found.items())))
    _tell(EndedAnswer(ticket=request.ticket, exit_status=0))


def _bar(request: BarredRequest, policy: LoadedPolicy) -> None:
    error = PolicyError("unknown-drive", request.what, where=request.node)
    receipt = station_api.turn_away(policy=policy, error=error, path=request.node, serial=request.serial)
    _tell(EndedAnswer(ticket=request.ticket, exit_status=error.exit_status, code=error.code, what=request.what,
                      receipt=receipt))


def _import(request: ImportRequest, policy: LoadedPolicy) -> None:
    state, last = "begun", 0.0

    def announce(reached: ImportState) -> None:
        nonlocal state
        state = reached.value
        _tell(ProgressAnswer(ticket=request.ticket, state=state, phase="", done=0, total=0))

    def progress(tick: Tick) -> None:
        nonlocal last
        now = time.monotonic()
        if now >= last + _EVERY:
            last = now
            _tell(ProgressAnswer(ticket=request.ticket, state=state, phase=tick.phase, done=tick.done,
                                 total=tick.total))

    result = station_api.intake([from_hex(folder) for folder in request.folders], policy=policy,
                                bundle=request.bundle, progress=progress, announce=announce)
    _tell(EndedAnswer(ticket=request.ticket, exit_status=0, what=_cut("; ".join(result.notes)),
                      receipt=shown(result.receipt), target=shown(result.target), label=shown(result.label)))


def _ended(request: Request, error: AirbundleError) -> EndedAnswer:
    report = error.report if isinstance(error.report, ImportResult) else None
    return EndedAnswer(ticket=request.ticket, exit_status=error.exit_status, code=error.code, what=_cut(str(error)),
                       hint=_cut(error.hint), receipt=shown(report.receipt) if report else "",
                       label=shown(report.label) if report else "")


def _cut(text: str) -> str:
    return shown(text)[:2000]


def _tell(answer: Answer, descriptor: int = 1) -> None:
    """One line."""
    _write(to_line(answer), descriptor)


def _write(content: bytes, descriptor: int) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest):]


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
