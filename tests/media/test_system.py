from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from airbundle.errors import MediumError, PulledError
from airbundle.media import drive, faults, mount_table, system
from airbundle.media.descriptors import Descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 3 * system.CALL + 12_345


def content(size: int = SIZE) -> bytes:
    return np.random.default_rng(1).integers(0, 256, size, np.uint8).tobytes()


def test_buffers_are_zeroed_aligned_and_in_whole_huge_pages(both: str) -> None:
    buffer = system.huge_buffer(5)
    assert len(buffer) == 2 << 20
    assert system.aligned(memoryview(buffer))
    assert not any(buffer[:4096])
    assert len(system.huge_buffer((2 << 20) + 1)) == 4 << 20
    view = memoryview(buffer)
    assert not system.aligned(view[1:4097])
    assert not system.aligned(view[:100])


@pytest.mark.parametrize("direct", [False, True])
def test_what_is_written_is_read(tmp_path: Path, both: str, direct: bool) -> None:
    data = content()
    path = str(tmp_path / "f")
    fd = system.open_file(path, os.O_RDWR | os.O_CREAT, direct=direct)
    buffer = system.huge_buffer(SIZE)
    view = memoryview(buffer)[:SIZE]
    view[:] = data
    system.write_all(fd, view, 0)
    system.sync_file(fd)
    back = memoryview(system.huge_buffer(SIZE + 4096))
    assert system.read_into(fd, back, 0) == SIZE
    assert back[:SIZE] == data
    assert system.read_into(fd, back[:100], SIZE) == 0
    assert system.read_into(fd, back[:100], 7) == 100
    assert back[:100] == data[7:107]
    os.close(fd)


def test_writing_at_an_offset(tmp_path: Path, both: str) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    system.write_all(fd, memoryview(b"world"), 5)
    system.write_all(fd, memoryview(b"hello"), 0)
    assert (tmp_path / "f").read_bytes() == b"helloworld"
    os.close(fd)


@pytest.mark.parametrize("first", [True, False], ids=["alone", "after another thread"])
def test_a_file_system_that_refuses_odd_direct_calls_is_served_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Where another thread was refused too, the file may go through the cache when this one hears of it."""
    fd = refused_direct(tmp_path, monkeypatch, lambda fd: system.set_direct(fd, on=first))
    system.write_all(fd, memoryview(b"abc"), 0)
    system.set_direct(fd, on=True)
    back = bytearray(3)
    assert system.read_into(fd, memoryview(back), 0) == 3
    assert back == b"abc"
    os.close(fd)


def test_what_is_refused_for_another_reason_is_refused(tmp_path: Path) -> None:
    fd = system.open_file(str(tmp_path / "f"), os.O_RDWR | os.O_CREAT, direct=True)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        system.write_all(fd, memoryview(b"abc"), -1)
    os.close(fd)


def refused_direct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[int], None]) -> int:
    """A file for which direct calls fail as on an overlay of tmpfs, with what happens before the caller hears of it."""
    fd = system.open_file(str(tmp_path / "f"), os.O_RDWR | os.O_CREAT, direct=True)
    assert system.is_direct(fd)
    real_read, real_write = os.preadv, os.pwrite

    def read(fd: int, views: list[memoryview], offset: int) -> int:
        require_cached(fd)
        return real_read(fd, views, offset)

    def write(fd: int, view: memoryview, offset: int) -> int:
        require_cached(fd)
        return real_write(fd, view, offset)

    def require_cached(fd: int) -> None:
        if system.is_direct(fd):
            meanwhile(fd)
            raise OSError(errno.EINVAL, "odd")

    monkeypatch.setattr(os, "preadv", read)
    monkeypatch.setattr(os, "pwrite", write)
    return fd


def test_short_reads_are_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(data := content(10_000))
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: real(fd, [views[0][:999]], at))
    back = bytearray(20_000)
    assert system.read_into(fd, memoryview(back), 0) == 10_000
    assert back[:10_000] == data
    os.close(fd)


def test_the_twins_may_share_a_descriptor(tmp_path: Path) -> None:
    data = content(64 * 4096)
    (tmp_path / "f").write_bytes(data)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    wrong: list[int] = []

    def work(number: int) -> None:
        back = bytearray(4096)
        for i in range(number, 64 * 40, 4):
            at = i % 64 * 4096
            system.read_into(fd, memoryview(back), at)
            if back != data[at : at + 4096]:
                wrong.append(at)

    with system.use(system.Features.portable()):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    os.close(fd)


def test_preallocated_space_is_really_taken(tmp_path: Path, both: str) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    system.preallocate(fd, 1 << 20)
    found = os.fstat(fd)
    assert found.st_size == 1 << 20
    os.fsync(fd)
    assert os.fstat(fd).st_blocks * 512 >= 1 << 20
    system.preallocate(fd, 0)
    os.close(fd)


def test_preallocating_too_much_fails_at_once(tiny: Path, both: str) -> None:
    fd = os.open(tiny / "f", os.O_RDWR | os.O_CREAT)
    with pytest.raises(MediumError, match="no space") as caught, faults.reporting("drive"):
        system.preallocate(fd, 2 << 20)
    os.close(fd)
    assert caught.value.where == "drive"
    assert "make room" in caught.value.hint


def test_a_full_device_is_a_medium_error(both: str) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(MediumError, match="no space"), faults.reporting("x"):
        system.write_all(fd, memoryview(b"abc"), 0)
    os.close(fd)


def test_sync_and_facts(tmp_path: Path, both: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").write_bytes(b"x")
    system.sync_tree(str(tmp_path))
    system.sync_directory(str(tmp_path))
    assert drive.free_space(str(tmp_path)) > 0
    assert drive.cluster_size(str(tmp_path)) >= 512
    assert system.memory_total() > 1 << 28
    assert system.cpu_count() >= 1


def test_without_syncfs_the_tree_is_synced_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/f", "a/b/g"):
        (tmp_path / name).write_bytes(b"x")
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    with system.use(system.Features.portable()):
        system.sync_tree(str(tmp_path))
    assert sorted(synced) == sorted(str(tmp_path / n) for n in (".", "a", "a/b", "a/f", "a/b/g"))


def test_reading_blocks_to_the_end(tmp_path: Path, both: str) -> None:
    data = content(100_000)
    (tmp_path / "f").write_bytes(data)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    back = bytearray(b"\xff" * 130_000)
    assert system.read_blocks(fd, memoryview(back), 4096) == system.Reading(100_000, ())
    assert back == data + bytes(30_000)
    back = bytearray(5_000)
    assert system.read_blocks(fd, memoryview(back), 4096, offset=4096) == system.Reading(5_000, ())
    assert back == data[4096:9096]
    os.close(fd)


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
/* Sectors of 512 bytes that cannot be read: bytes 50000 and 9000000. A read that begins before one is cut short. */
static const long BAD[] = {50000, 9000000};
static ssize_t sick(int fd, const struct iovec *v, int c, off_t o) {
  static ssize_t (*real)(int, const struct iovec *, int, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "preadv64");
  struct iovec w = v[0];
  for (int i = 0; i < 2; i++) {
    long a = BAD[i] / 512 * 512;
    if (o < a + 512 && a < (long)(o + w.iov_len)) {
      if (o < a && getenv("SHORT")) { w.iov_len = a - o; continue; }
      errno = atoi(getenv("ERRNO")); return -1;
    }
  }
  return real(fd, &w, 1, o);
}
ssize_t preadv(int fd, const struct iovec *v, int c, off_t o) { return sick(fd, v, c, o); }
ssize_t preadv64(int fd, const struct iovec *v, int c, off_t o) { return sick(fd, v, c, o); }
ssize_t preadv2(int fd, const struct iovec *v, int c, off_t o, int f) { return sick(fd, v, c, o); }
ssize_t preadv64v2(int fd, const struct iovec *v, int c, off_t o, int f) { return sick(fd, v, c, o); }
"""

SICK_READ = """
import os, sys
from airbundle.media import system
path, block = sys.argv[1], int(sys.argv[2])
data = open(path, "rb").read()
fd = os.open(path, os.O_RDONLY)
back = bytearray(b"\\xff" * len(data))
reading = system.read_blocks(fd, memoryview(back), block, where="stick")
for piece in reading.unreadable:
    at = piece * block
    assert not any(back[at:at + block]), piece
    back[at:at + block] = data[at:at + block]
assert back == data
assert not system.is_direct(fd)
print(reading.length, *reading.unreadable)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("shim")
    (place / "sick.c").write_text(SHIM)
    library = str(place / "sick.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, place / "sick.c", "-ldl"], check=True)
    return library


def sick(shim: str, path: Path, block: int, number: int, *, short: bool) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LD_PRELOAD": shim, "ERRNO": str(number)} | ({"SHORT": "1"} if short else {})
    command = [sys.executable, "-c", textwrap.dedent(SICK_READ), str(path), str(block)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("number", [5, 61])  # EIO, ENODATA
@pytest.mark.parametrize("block", [4096, 65536])
def test_a_bad_sector_costs_its_block_and_nothing_else(
    shim: str, tmp_path: Path, block: int, number: int, *, short: bool
) -> None:
    (tmp_path / "f").write_bytes(content(10_000_384))
    done = sick(shim, tmp_path / "f", block, number, short=short)
    assert done.stderr == ""
    assert done.stdout.split() == ["10000384", str(50000 // block), str(9000000 // block)]


@pytest.mark.parametrize("number", [19, 6])  # ENODEV, ENXIO
def test_a_device_that_is_gone_ends_the_run(shim: str, tmp_path: Path, number: int) -> None:
    (tmp_path / "f").write_bytes(content(100_000))
    done = sick(shim, tmp_path / "f", 4096, number, short=False)
    assert "PulledError: stick: the device is gone" in done.stderr


def test_a_pulled_drive_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(bytes(8192))
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda p: False if "/sys/dev/block/" in str(p) else exists(p))
    monkeypatch.setattr(os, "major", lambda _: 8)
    monkeypatch.setattr(os, "preadv", lambda *_: (_ for _ in ()).throw(OSError(5, "EIO")))
    with pytest.raises(PulledError, match="the device is gone"):
        system.read_blocks(fd, memoryview(bytearray(8192)), 4096, where="stick")
    os.close(fd)


def test_descriptors_in_use_stay_open(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    opened = []

    def open_one(key: str) -> int:
        opened.append(key)
        return os.open(tmp_path / key, os.O_RDONLY)

    held = Descriptors(open_one, 1)
    with held.borrow("a") as first, held.borrow("b") as second, held.borrow("a") as again:
        assert first == again
        assert os.pread(first, 1, 0) + os.pread(second, 1, 0) == b"ab"
    with held.borrow("c"), held.borrow("c"):
        pass
    assert opened == ["a", "b", "c"]
    with held.borrow("a"):
        assert opened == ["a", "b", "c", "a"]
    held.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(first)


def test_the_drive_below_a_path(tmp_path: Path, tiny: Path, both: str) -> None:
    (tmp_path / "a").mkdir()
    here = drive.physical_device(str(tmp_path))
    assert here == drive.physical_device(str(tmp_path / "a"))
    assert here != drive.physical_device(str(tiny))
    for text in (drive.filesystem_label(str(tiny)), drive.device_serial(str(tiny))):
        assert text == ""
    assert drive.filesystem_type(str(tiny / "none")) == ("tmpfs" if both == "detected" else "")


def test_a_partition_and_a_mapped_device_fall_with_their_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "devices/usb1/1-1/block/sdq"
    (disk / "sdq1").mkdir(parents=True)
    (disk / "sdq1/partition").write_text("1")
    (tmp_path / "devices/usb1/1-1/serial").write_text("S3R1AL\n")
    mapped = tmp_path / "devices/virtual/block/dm-7"
    (mapped / "slaves").mkdir(parents=True)
    (mapped / "slaves/sdq1").symlink_to(disk / "sdq1")
    (tmp_path / "dev/block").mkdir(parents=True)
    (tmp_path / "class/block").mkdir(parents=True)
    (tmp_path / "class/block/sdq").symlink_to(disk)
    device = os.stat(tmp_path).st_dev
    number = tmp_path / f"dev/block/{os.major(device)}:{os.minor(device)}"
    monkeypatch.setattr(drive, "_SYS", str(tmp_path))
    monkeypatch.setattr(os, "major", lambda _: 8)
    number = tmp_path / f"dev/block/8:{os.minor(device)}"
    for below in (disk, disk / "sdq1", mapped):
        number.symlink_to(below)
        assert drive.physical_device(str(tmp_path)) == "sdq"
        assert drive.device_serial(str(tmp_path)) == "S3R1AL"
        number.unlink()


def test_labels_are_a_strangers_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    target = tmp_path / "sdq1"
    target.write_text("")
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 8:17 / {tmp_path}/my\\040stick rw - vfat {target} rw\n"
    )
    (tmp_path / "labels").mkdir()
    monkeypatch.setattr(mount_table, "_TABLE", str(mounts))
    monkeypatch.setattr(drive, "_LABELS", str(tmp_path / "labels"))
    stick = f"{tmp_path}/my stick/inside"
    assert drive.filesystem_type(stick) == "vfat"
    assert drive.filesystem_type("/etc") == "ext4"
    for name, text in (("LOW\\x20SIDE", "LOW SIDE"), ("\\x1b[31m", ""), ("\\xff", "")):
        link = tmp_path / "labels" / name
        link.symlink_to(target)
        assert drive.filesystem_label(stick) == text
        link.unlink()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can lock, nobody is kept out; where somebody has the lock, everybody else is."""
    fcntl = pytest.importorskip("fcntl")
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    try:
        assert system.try_lock(first)
        assert not system.try_lock(second)

        def refuses(_fd: int, _how: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuses)
        assert system.try_lock(second)
    finally:
        os.close(first)
        os.close(second)
