"""What an import touches: watched by strace, it opens no socket, writes only to state and target, reads the drives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle import load_public
from airbundle.cli import main
from airbundle.cli.main import VERBS
from airbundle.cli.slip import QUIET
from airbundle.crypto.keyfiles import write_private
from airbundle.errors import PolicyError
from tests.station.desk import Desk, model
from tests.transfer.workshop import write_tree

ROOT = Path(__file__).parents[2]
CALLS = ("openat,open,creat,openat2,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,"
         "symlinkat,truncate,ftruncate,chmod,fchmodat,mknod,mknodat,rmdir,utimensat,setxattr,socket,connect,bind,sendto")
HARMLESS = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/")
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def traced(desk: Desk, *words: str) -> list[tuple[str, str]]:
    """Calls of a command and of whatever it starts: name, and the rest of the line."""
    log = desk.place / "trace"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["strace", "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", str(log), sys.executable, "-m",
                           "airbundle", *words], check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = [CALL.match(line) for line in log.read_text(errors="replace").splitlines()]
    return [(match[1], match[2]) for match in found if match and " = -1 " not in match[2]]


def changes(name: str, rest: str) -> bool:
    """Whether a call writes, or opens for writing."""
    if name.startswith("open"):
        return bool(re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND", rest))
    return name not in {"socket", "connect", "bind", "sendto"}


@needs_strace
@pytest.mark.parametrize("layout", ["plain", "hf-cache"])
def test_nothing_but_state_and_target_is_written_and_no_socket_opened(desk: Desk, layout: str) -> None:
    desk.rule(f'[publish]\nlayout = "{layout}"\n')
    volumes = desk.pack(sequence=1, drives=2, meta=[("hf-repo", "o/m")])
    calls = traced(desk, "import", *volumes, "--policy", str(desk.file), "--progress", "none", "--jobs", "2")
    assert len(calls) > 100
    assert not [call for call in calls if call[0] in {"socket", "connect", "bind", "sendto"}]
    allowed = (f"{desk.high}/state", f"{desk.high}/models")
    written = 0
    for name, rest in calls:
        if not changes(name, rest):
            continue
        paths = PATH.findall(rest)[name.startswith("symlink"):]  # the first is what the link says
        folders = re.findall(r"\d<(/[^>]*)>", rest.split(") = ")[0])
        if folders:  # paths in an open folder
            paths = [path for path in paths if path.startswith("/")]
        for path in [*paths, *folders]:
            assert path.startswith((*allowed, *HARMLESS)), (name, rest)
        written += bool(paths or folders)
    assert written > 20
    drives = [rest for name, rest in calls if name.startswith("open") and "/drive-" in rest]
    assert drives
    assert not [rest for rest in drives if changes("openat", rest)]


@pytest.mark.skipif(subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode != 0
                    if shutil.which("unshare") else True, reason="no namespaces here")
def test_it_works_where_there_is_no_network_at_all(desk: Desk) -> None:
    volumes = desk.pack(sequence=1)
    done = subprocess.run(["unshare", "-rn", sys.executable, "-m", "airbundle", "import", *volumes, "--policy",
                           str(desk.file), "--progress", "none"], check=False, capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr


@needs_strace
@pytest.mark.real
def test_no_verb_opens_a_socket(desk: Desk) -> None:
    """Every verb of the command line, watched; those it names as its parts too."""
    place, high = desk.place, desk.high
    (place / "alice.key").write_bytes(write_private("alice", desk.people.alice, passphrase=None))
    (place / "rita.key").write_bytes(write_private("rita", desk.people.rita, passphrase=None))
    for name in ("d1", "d2", "d3", "n1", "n2", "rescued"):
        (place / name).mkdir()
    write_tree(place / "source", model())
    pub = [str(high / "keys" / f"{name}.pub") for name in ("alice", "rita", "station")]
    trust, sign = ["--trust", pub[0], "--trust", pub[1]], ["--sign", "alice.key"]
    opens = ["--key", str(high / "station.key")]
    state, policy = str(high / "state"), ["--policy", str(desk.file)]
    lines: list[list[str]] = [
        ["keygen", "new", "--no-passphrase"], ["trust", "add", "new.pub", "--fingerprint", "WORDS"], ["trust", "list"],
        ["plan", "source", "-o", "d1"], ["pack", "source", "-o", "d1", *sign, "--to", pub[2]],
        ["inspect", "d1", *trust], ["sign", "d1", "--sign", "rita.key", *trust], ["verify", "d1", *trust],
        ["custody", "add", "d1", "--event", "packed", *sign, *trust], ["repair", "d1", *trust],
        ["copy", "d1", "-o", "d2", *trust], ["unpack", "d1", "-o", "out", *opens, *trust],
        ["policy", "check", str(desk.file)], ["import", "d1", *policy], ["audit", "verify", state],
        ["receipt", "verify", "RECEIPT", "--trust", pub[2]], ["rewrap", "d2", *sign, *opens, "--add", "new.pub"],
        ["waive", "ab" * 32, "--allow", "replay", "--reason", "x", *sign, "-o", "waiver"],
        ["custody", "show", "d1", *trust], ["slip", "d1", "-o", "slip.html", *trust], ["policy", "init", "own.toml"],
        ["audit", "show", state], ["receipt", "show", "RECEIPT"], ["trust", "remove", "new"],
        ["rescue", "d1", "-o", "rescued"], ["doctor"], ["demo", "--size", "1M"]]
    for line in lines:
        words = [fill(word, desk) for word in line]
        words += ["--progress", "none"] if line[0] in HAVE_PROGRESS else []
        assert not calls_of_network(desk, words), line
    tried = {line[0] for line in lines}
    # salvage needs a bundle that cannot be verified, and reads as unpack does; the others: tests/devices/test_watch.py
    assert set(VERBS) - tried == {"salvage", "watch", "drives"}
    assert "--host-resolver-rules=MAP * ~NOTFOUND" in QUIET  # a browser that prints a slip finds nobody


HAVE_PROGRESS = {"pack", "sign", "verify", "repair", "copy", "unpack", "import", "rewrap", "rescue"}


def fill(word: str, desk: Desk) -> str:
    """What is known only when it is needed."""
    if word == "WORDS":
        return load_public(str(desk.place / "new.pub")).public.words
    if word == "RECEIPT":
        (path,) = (desk.high / "state" / "receipts").glob("*.json")
        return str(path)
    return word


def calls_of_network(desk: Desk, words: list[str]) -> list[str]:
    log = desk.place / "network"
    done = subprocess.run(["strace", "-f", "-qq", "-e", "trace=%network", "-o", str(log), sys.executable, "-m",
                           "airbundle", *words], check=False, capture_output=True, text=True, cwd=desk.place,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, (words, done.stderr)
    return [line for line in log.read_text().splitlines() if "AF_INET" in line or "AF_NETLINK" in line]


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
def test_names_that_are_no_text(desk: Desk) -> None:
    """Of the folder that a drive is mounted on, and of what lies on it: an import comes in, or says why not."""
    (volume,) = desk.pack(sequence=1)
    strange = os.path.join(str(desk.place), os.fsdecode(b"drive-\xff.airbundle"))
    shutil.move(volume, strange)
    with open(os.path.join(os.fsencode(strange), b"\xfe.abs"), "wb") as file:
        file.write(b"x" * 5000)
    desk.rule('[bundle]\nlargest-size = "100K"\n')
    with pytest.raises(PolicyError) as caught:
        desk.take([strange])
    assert desk.receipt(caught.value.report).code == "too-large"  # type: ignore[arg-type]
    desk.rule('[bundle]\nlargest-size = "1G"\n')
    receipt = desk.receipt(desk.take([strange]))
    assert receipt.drives[0].path.endswith("drive-\\udcff.airbundle")


def test_asked_twice_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once more while that is being said: no more than the exit status."""
    def again() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "main", again)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    interval = sys.getswitchinterval()
    with pytest.raises(SystemExit) as caught:
        main.run()
    sys.setswitchinterval(interval)
    assert caught.value.code == 130
