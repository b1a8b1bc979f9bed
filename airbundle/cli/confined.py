"""The process that reads media for the watcher: no privileges, no network, and nothing written outside the station.

It is started by `airbundle watch` and `drives` alone. Everything is imported first, since who reads drives need not be
able to read this program; then it becomes that user. Each question is answered by a child that is forked, confined for
good to what the question needs, and gone afterwards. What a drive does to one child, the next one does not see.
"""

from __future__ import annotations

import codecs
import concurrent.futures.thread  # noqa: F401 - what is imported late elsewhere
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
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
from airbundle.devices.sandbox import become, confine
from airbundle.errors import AirbundleError, InterruptedRunError, PolicyError
from airbundle.format.names import shown
from airbundle.media.streams import make_private
from airbundle.station.intake import ImportResult
from airbundle.station.policy import load_policy
from airbundle.transfer.finding import bundles_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from airbundle.station.policy import LoadedPolicy
    from airbundle.station.states import ImportState
    from airbundle.transfer.progress import Tick

_ENCODINGS: Final = ("ascii", "idna", "latin-1", "unicode_escape", "utf-8", "utf-8-sig", "utf-16", "utf-16-le")
_END_WITH_PARENT: Final = 1  # prctl(PR_SET_PDEATHSIG)
_EVERY: Final = 0.2  # seconds between two lines of progress
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/disk")
_PROGRAMS: Final = ("/usr", "/lib", "/lib64", "/bin", "/opt", "/etc", "/var/lib", "/run")


def serve(arguments: Sequence[str]) -> int:
    """Answer until nobody asks any more.

    `arguments`: whom to become, as numbers of user and groups, or ''; the policy or ''; NAME=VALUE that tighten it.
    """
    for encoding in _ENCODINGS:  # each is a module, and is imported when it is first used
        codecs.lookup(encoding)
    who, policy, *more = arguments
    tighter = [(name, value) for name, _, value in (one.partition("=") for one in more)]
    if who:
        user, group, *groups = map(int, who.split(":"))
        become(user, group, groups)
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM, 0, 0, 0)
    child = 0

    def end(_number: int, _frame: FrameType | None) -> None:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGINT)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watcher decides
    questions = sys.stdin.buffer
    while line := questions.readline(LINE_MAX):
        request = REQUESTS.decode(line)
        child = os.fork()
        if not child:
            os._exit(_in_child(request, policy, tighter))
        _, status = os.waitpid(child, 0)
        child = 0
        if status:
            said = (f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status)
                    else f"ended with {os.WEXITSTATUS(status)}")
            _tell(EndedAnswer(ticket=request.ticket, exit_status=1, code="bug",
                              what=f"the process that read the drive {said}"))
    return 0


def _in_child(request: Request, path: str, tighter: Sequence[tuple[str, str]]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGINT, 0, 0, 0)
    try:
        if isinstance(request, LookRequest):
            _confine_look(request)
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
    except Exception:  # noqa: BLE001 - the last line of a process of its own
        traceback.print_exc()
        return 1
    return 0


def _own() -> list[str]:
    """Where this program and its libraries lie."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path), package]


def _confine_look(request: LookRequest) -> None:
    """From here on only the drive is read, and nothing is written."""
    confine(readable=[*_SYSTEM, *_own(), from_hex(request.point)], writable=[])


def _confine(policy: LoadedPolicy, request: ImportRequest | BarredRequest) -> None:
    """From here on only the drives and the policy are read, and the station's folders are written."""
    rules = policy.rules
    files = [*(key.file for key in rules.keys), rules.station.key, *rules.station.open_with]
    writable = [make_private(policy.state), policy.root, *filter(None, (policy.receipts_to,))]
    for folder in writable:  # a rule is for what is there
        os.makedirs(folder, exist_ok=True)
    media, runnable = [], []
    if isinstance(request, ImportRequest):
        media = [from_hex(place) for place in request.places]
        if rules.gates.scanners or rules.publish.hook:
            hook = shutil.which(rules.publish.hook[0]) if rules.publish.hook else None
            runnable = [*_PROGRAMS, *_own(), *filter(None, (hook,))]
            writable.append(tempfile.gettempdir())
    confine(readable=[*_SYSTEM, *_own(), *media, policy.folder,
                      *(os.path.join(policy.folder, file) for file in files)],
            writable=writable, runnable=runnable)


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


def _tell(answer: Answer) -> None:
    """One line in one call: no two children speak at a time."""
    line = memoryview(to_line(answer))
    while line:
        line = line[os.write(sys.stdout.fileno(), line):]


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
