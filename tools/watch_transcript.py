"""Runs the watcher in a terminal of 80 columns before sticks that are good and bad, and keeps what it shows.

    python tools/watch_transcript.py docs/transcripts/watch.txt

Needs root, tmux and what the tests of devices need on this machine (`tests/devices/equipment.py`).
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from airbundle.crypto.identities import generate
from tests.devices.hostlab import HostLab
from tests.devices.post import ROOT, Post
from tests.devices.sticks import MIB, make_stick
from tests.station.desk import People, safetensors

PATIENCE = 40.0
SLOW = 256 << 10  # bytes a second, at which mounting and looking take a second each


class Terminal:
    """The watcher in tmux; `keep` waits for words on the screen and keeps the screen."""

    def __init__(self, post: Post) -> None:
        self.socket = f"{post.place}/tmux"
        self.last = ""
        self.kept: list[str] = []
        command = " ".join(post.command("--source", "udev"))
        self.tmux("new-session", "-d", "-x", "80", "-y", "24",
                  f"PYTHONPATH={ROOT} LC_ALL=C.UTF-8 {command}; echo ended with $?; cat")

    def tmux(self, *words: str) -> str:
        """What tmux answers."""
        return subprocess.run(["tmux", "-S", self.socket, "-f", "/dev/null", *words], check=True, capture_output=True,
                              text=True).stdout

    def screen(self) -> str:
        """What is on it, without what is empty."""
        return re.sub(r"[ \n]+\n|\n\Z", "\n", self.tmux("capture-pane", "-p")).strip("\n")

    def keep(self, title: str, words: str) -> None:
        """The lines that are new, and the table, once `words` are to be seen."""
        end = time.monotonic() + PATIENCE
        while not re.search(words, screen := self.screen()):
            assert time.monotonic() < end, f"{words} does not come:\n{screen}"
            time.sleep(0.02)
        time.sleep(0.1)  # until the rest is drawn
        lines = self.screen().splitlines()
        seen = max((at for at, line in enumerate(lines) if line == self.last), default=-1)
        log = next(at for at, line in enumerate(lines) if line.startswith("station: "))
        self.last = lines[log - 1] if log else ""
        self.kept.append("\n".join([f"=== {title}", "", *lines[seen + 1:], ""]))


def stick(post: Post, name: str, *volumes: str, kind: str = "ext4", label: str = "") -> Path:
    content = post.place / f"{name}.content"
    content.mkdir()
    for volume in volumes:
        subprocess.run(["cp", "-r", volume, content], check=True)
    return make_stick(post.place / f"{name}.img", kind, content=content, size=64 * MIB, label=label or name.upper())


def show(post: Post, host: HostLab, terminal: Terminal) -> None:
    noise = safetensors({"w": random.Random(1).randbytes(12 * MIB)})
    good = post.pack("good", files={"model.safetensors": noise}, segment_size=MIB)
    three = post.pack("three", drives=3)
    worn = post.pack("worn", files={"model.safetensors": noise}, segment_size=MIB)
    strange = post.pack("strange", by=post.people.mallory, released=False)
    terminal.keep("nothing is plugged in", "plug in a drive")
    host.plug("good", stick(post, "good", *good), bytes_per_second=2 * MIB)
    terminal.keep("a drive is read: leave it in", r"unpacking \d\d %")
    host.pull("good")
    terminal.keep("it was pulled too soon", "PULLED")
    host.plug("good2", post.place / "good.img")
    terminal.keep("put back, it goes on and is imported", "IMPORTED")
    host.pull("good2")
    host.plug("again", post.place / "good.img")
    terminal.keep("the same once more", "IMPORTED BEFORE")
    host.pull("again")
    host.plug("one", stick(post, "one", three[0]))
    terminal.keep("one of three drives", "needs another drive")
    host.plug("three", stick(post, "three", three[2]))
    terminal.keep("another one: the bundle may lose a drive, and is complete", "IMPORTED: 'THREE'")
    for name in ("one", "three"):
        host.pull(name)
    host.plug("strange", stick(post, "strange", *strange))
    terminal.keep("a bundle by a stranger", "REFUSED")
    host.pull("strange")
    image = stick(post, "sick", *worn)
    sectors = image.stat().st_size // 512
    host.plug("sick", image, bad_sector=range(sectors // 4, sectors // 2, 8))
    terminal.keep("a bundle on a drive that is worn out", "FAILED")
    host.pull("sick")
    host.plug("empty", stick(post, "empty"))
    terminal.keep("a drive with nothing on it", "holds no bundle")
    host.pull("empty")
    host.plug("odd", stick(post, "odd", kind="vfat"))
    terminal.keep("a drive that cannot be read here: this kernel has no vfat", "not readable")
    host.pull("odd")
    host.plug("other", stick(post, "other"))
    terminal.keep("a drive that the policy does not let in", "NOT LET IN")
    host.pull("other")
    terminal.keep("all are out", "removed: 'OTHER'")
    early = post.pack("early")
    several = [volume for number in range(3)
               for volume in post.pack(f"late{number}", by=post.people.mallory, released=False)]
    host.plug("late", stick(post, "late", *several), bytes_per_second=SLOW)
    terminal.keep("a slow drive comes, and a fast one", r"'LATE' \(loop\d+\) +mounting")
    host.plug("early", stick(post, "early", *early))
    terminal.keep("one after the other is looked through", r"'LATE' \(loop\d+\) +looking")
    terminal.keep("the fast one is ready, and waits for its turn", r"'EARLY' \(loop\d+\) +ready")
    terminal.keep("the slow one was refused, the fast one is imported", "IMPORTED: 'EARLY'")


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="watch-") as folder:
        post = Post(People(*(generate() for _ in range(6))), Path(folder))
        names = ("good*", "again", "one", "three", "strange", "sick", "empty", "odd", "early", "late")
        post.rule("\n".join(f'[[devices.allow]]\nserial = "AIRB-{name}"' for name in names))
        post.give()
        lab = Path(folder) / "lab"
        lab.mkdir()
        with HostLab(lab) as host:
            terminal = Terminal(post)
            try:
                show(post, host, terminal)
            finally:
                terminal.tmux("kill-server")
        target.parent.mkdir(exist_ok=True)
        text = "\n".join(terminal.kept)
        target.write_text(re.sub(re.escape(folder), "/srv", text))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
