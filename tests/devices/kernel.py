"""The kernel of the virtual machine, and the archive that it starts from.

The kernel is the distribution's own, downloaded and unpacked into a cache and never installed. The archive holds
busybox, the modules that reach this machine's files, and whatever the caller adds: it is a cpio of the form newc,
written here, because several of them one after the other are one archive too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devices.equipment import PATH, program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EARLY = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console")
FOLDERS = ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "new")
ENVIRONMENT = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: its image, the folder of its modules, and the first part of the archive."""

    image: Path
    modules: Path
    archive: Path


@dataclass(frozen=True)
class Entry:
    """One entry of the archive; a folder where there is no content."""

    name: str
    content: bytes | None = None
    mode: int = 0o644


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries as a cpio of the form newc, folders above them included."""
    parts, made = bytearray(), set[str]()
    for entry in entries:
        for folder in reversed(list(Path(entry.name).parents)[:-1]):
            if str(folder) not in made:
                made.add(str(folder))
                parts += _record(str(folder), stat.S_IFDIR | 0o755, b"", len(made))
        if entry.content is not None:
            parts += _record(entry.name, stat.S_IFREG | entry.mode, entry.content, 1 << 20 | len(parts) // 4)
        elif entry.name not in made:
            made.add(entry.name)
            parts += _record(entry.name, stat.S_IFDIR | 0o755, b"", len(made))
    return bytes(parts + _record("TRAILER!!!", 0, b"", 0))


def _record(name: str, mode: int, content: bytes, number: int) -> bytes:
    """Thirteen numbers in hex, the name and the content, each filled up to four bytes."""
    numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % value for value in numbers) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def cache() -> Path:
    """A folder that only this user writes to: what lies there is started as a kernel."""
    given = os.environ.get("XDG_CACHE_HOME")
    name = "airbundle-devices" if given else f"airbundle-devices-{os.geteuid()}"
    place = Path(given or tempfile.gettempdir()) / name
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = place.lstat()
    assert stat.S_ISDIR(status.st_mode), f"{place} is no folder"
    assert status.st_uid == os.geteuid(), f"{place} belongs to somebody else"
    assert not status.st_mode & 0o022, f"{place} may be written to by others"
    return place


def prepared() -> Kernel:
    """The kernel from the cache; the first call fetches and unpacks it, which takes seconds and a package index."""
    place = cache()
    with _locked(place):
        tree = place / "tree"
        if not list(tree.glob("boot/vmlinuz-*")):
            _fetch(place, tree)
        image = max(tree.glob("boot/vmlinuz-*"))
        version = image.name.removeprefix("vmlinuz-")
        modules = tree / "lib" / "modules"
        if not (modules / version / "modules.dep.bin").exists():
            subprocess.run([program("depmod"), "-b", tree, version], check=True, env=ENVIRONMENT)
        first = place / f"first-{version}.cpio"
        made = archive([*(Entry(folder) for folder in FOLDERS),
                        Entry("bin/busybox", Path(program("busybox")).read_bytes(), 0o755), *_early(tree, version)])
        if not first.exists() or first.read_bytes() != made:
            first.write_bytes(made)
        return Kernel(image, modules, first)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    with open(place / "lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(place: Path, tree: Path) -> None:
    """The package that the newest kernel's own package names; unpacked beside, and moved when it is whole."""
    text = subprocess.run([program("apt-cache"), "depends", "linux-image-amd64"], check=True, capture_output=True,
                          text=True, env=ENVIRONMENT).stdout
    named = re.search(r"Depends: (linux-image-\S+)", text)
    assert named is not None, f"no kernel package is known here, apt-get update may help: {text!r}"
    with tempfile.TemporaryDirectory(dir=place) as folder:
        subprocess.run([program("apt-get"), "-o", "APT::Sandbox::User=root", "-qq", "download", named[1]],
                       check=True, cwd=folder, env=ENVIRONMENT)
        package, = Path(folder).glob("*.deb")
        subprocess.run([program("dpkg"), "-x", package, Path(folder) / "tree"], check=True, env=ENVIRONMENT)
        (Path(folder) / "tree").rename(tree)


def _early(tree: Path, version: str) -> Iterator[Entry]:
    """The modules that mount this machine's files, numbered in the order in which they are loaded."""
    found: list[str] = []
    for module in EARLY:
        lines = subprocess.run([program("modprobe"), "-d", tree, "-S", version, "--show-depends", module], check=True,
                               capture_output=True, text=True, env=ENVIRONMENT).stdout.splitlines()
        found += [path for path in (line.split()[1] for line in lines if line.startswith("insmod"))
                  if path not in found]
    for number, path in enumerate(found):
        yield Entry(f"modules/{number:02d}-{os.path.basename(path)}", Path(path).read_bytes())


if __name__ == "__main__":  # fetch it before somebody waits for it: python -m tests.devices.kernel
    sys.stdout.write(f"{prepared().image}\n")
