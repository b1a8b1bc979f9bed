"""The process that reads drives in a stranger's hands: what it cannot do to the station, and to the next question."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.devices.messages import ANSWERS, EndedAnswer, FoundAnswer, LookRequest, to_hex, to_line
from airbundle.devices.sandbox import landlock_version
from airbundle.devices.workers import reader_of
from tests.devices.post import READER, ROOT, Post

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.skipif(not landlock_version(), reason="no Landlock here"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")]
# What is served, with a look that does what HOSTILE says, after it was confined.
SERVED = """
import errno, os, socket, sys, time
from airbundle.cli import confined
from airbundle.devices.messages import EndedAnswer, FoundAnswer, HeldAnswer
tell = confined._tell
def tried(name, what):
    try:
        what()
        return name + "=done"
    except OSError as error:
        return name + "=" + errno.errorcode[error.errno]
def look(request):
    policy = os.path.dirname(sys.argv[2])
    {hostile}
confined._look = look
sys.exit(confined.serve(sys.argv[1:]))
"""


def asked(post: Post, hostile: str, *places: Path) -> list[FoundAnswer | EndedAnswer]:
    """All that comes for these looks, in order."""
    reader = reader_of(READER, str(post.file))
    assert reader is not None
    code = SERVED.replace("{hostile}", hostile.strip().replace("\n", "\n    "))
    answers = []
    with subprocess.Popen([sys.executable, "-P", "-c", code, reader.in_words(), str(post.file)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=post.high,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for ticket, place in enumerate(places, 1):
            process.stdin.write(to_line(LookRequest(ticket=ticket, point=to_hex(str(place)))))
            process.stdin.flush()
            for line in process.stdout:
                answer = ANSWERS.decode(line)
                assert isinstance(answer, FoundAnswer | EndedAnswer)
                answers.append(answer)
                if isinstance(answer, EndedAnswer):
                    break
        process.stdin.close()
        assert process.wait(20) == 0
    return answers


def test_what_a_look_can_do_to_the_station(post: Post) -> None:
    (ended,) = asked(post, """
found = [
    tried("policy", lambda: open(sys.argv[2]).close()),
    tried("key", lambda: open(policy + "/station.key").close()),
    tried("mode", lambda: os.chmod(sys.argv[2], 0o4777)),
    tried("times", lambda: os.utime(policy + "/station.key")),
    tried("attribute", lambda: os.setxattr(sys.argv[2], "user.x", b"1")),
    tried("write", lambda: open(policy + "/new", "w").close()),
    tried("socket", lambda: socket.socket(socket.AF_UNIX)),
    tried("fork", os.fork),
    tried("program", lambda: os.execv("/bin/true", ["true"])),
    tried("memory", lambda: os.memfd_create("x")),
    tried("parent", lambda: os.kill(os.getppid() or 1, 19)),
]
tell(EndedAnswer(ticket=request.ticket, exit_status=0, what=" ".join(found)))
""", post.mnt)
    assert isinstance(ended, EndedAnswer)
    found = dict(word.split("=") for word in ended.what.split())
    assert found.pop("parent") in {"EPERM", "ESRCH", "done"}  # 1 is itself, in processes of its own
    assert found == {"policy": "EACCES", "key": "EACCES", "mode": "EPERM", "times": "EPERM", "attribute": "EPERM",
                     "write": "EACCES", "socket": "EPERM", "fork": "EPERM", "program": "EPERM", "memory": "EPERM"}
    assert not stat.S_IMODE(post.file.stat().st_mode) & 0o4022


def test_it_says_nothing_about_the_next_question(post: Post) -> None:
    """A thread that stays when the answer is given, and what it would like to say of the next drive."""
    first, second = post.mount("first"), post.mount("second", *post.pack())
    answers = asked(post, """
import threading
if request.ticket == 1:
    def later():
        time.sleep(0.2)
        tell(FoundAnswer(ticket=2, held=()))
        tell(EndedAnswer(ticket=2, exit_status=0))
    threading.Thread(target=later, daemon=True).start()
    tell(FoundAnswer(ticket=1, held=()))
    tell(EndedAnswer(ticket=1, exit_status=0))
else:
    time.sleep(0.5)
    tell(FoundAnswer(ticket=2, held=(HeldAnswer("a" * 32, ("00",)),)))
    tell(EndedAnswer(ticket=2, exit_status=0))
""", first, second)
    assert [(one.ticket, len(one.held)) for one in answers if isinstance(one, FoundAnswer)] == [(1, 0), (2, 1)]


def test_it_ends_with_the_watcher(post: Post) -> None:
    reader = reader_of(READER, str(post.file))
    assert reader is not None
    hostile = "import signal\nfor n in (2, 15, 1): signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)"
    code = SERVED.replace("{hostile}", hostile.replace("\n", "\n    "))
    with subprocess.Popen([sys.executable, "-P", "-c", code, reader.in_words(), str(post.file)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
                          ) as process:
        assert process.stdin is not None
        process.stdin.write(to_line(LookRequest(ticket=1, point=to_hex(str(post.mnt)))))
        process.stdin.flush()
        children = wait_for(lambda: children_of(process.pid))
        process.kill()
    wait_for(lambda: not any(os.path.exists(f"/proc/{child}/exe") and is_alive(child) for child in children))


def children_of(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


def is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], Any]) -> Any:
    """What it gives, once that is something."""
    end = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < end
        os.sched_yield()
    return found
