"""Sectors that cannot be read: the kernel says EIO, and only the blocks over them are lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.media import volume as names
from tests.transfer.workshop import Packed, digests

if TYPE_CHECKING:
    from pathlib import Path

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
/* Bytes FIRST to LAST of each file whose name ends in NAME cannot be read. */
static ssize_t sick(int fd, const struct iovec *v, int c, off_t o) {
  static ssize_t (*real)(int, const struct iovec *, int, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "preadv64");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  const char *name = getenv("NAME");
  if (size > 0) {
    path[size] = 0;
    size_t length = strlen(name);
    long first = atol(getenv("FIRST")), last = atol(getenv("LAST"));
    if ((size_t)size >= length && !strcmp(path + size - length, name)
        && o < last && first < (long)(o + v[0].iov_len)) { errno = EIO; return -1; }
  }
  return real(fd, v, c, o);
}
ssize_t preadv(int fd, const struct iovec *v, int c, off_t o) { return sick(fd, v, c, o); }
ssize_t preadv64(int fd, const struct iovec *v, int c, off_t o) { return sick(fd, v, c, o); }
ssize_t preadv2(int fd, const struct iovec *v, int c, off_t o, int f) { return sick(fd, v, c, o); }
ssize_t preadv64v2(int fd, const struct iovec *v, int c, off_t o, int f) { return sick(fd, v, c, o); }
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("shim")
    (place / "sick.c").write_text(SHIM)
    library = str(place / "sick.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, place / "sick.c", "-ldl"], check=True)
    return library


def run(shim: str, bundle: Packed, tmp_path: Path, name: str, first: int, last: int, *words: str) -> tuple[int, Any]:
    keys = bundle.keys
    (tmp_path / "r.key").write_bytes(write_private("r", keys.reader, passphrase=None))
    (tmp_path / "p.pub").write_bytes(write_public("p", keys.packer.public))
    env = {**os.environ, "LD_PRELOAD": shim, "NAME": "/" + name, "FIRST": str(first), "LAST": str(last)}
    done = subprocess.run([sys.executable, "-m", "airbundle", words[0], str(bundle.volume), *words[1:], "--trust",
                           str(tmp_path / "p.pub"), "--json"], env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    assert answer["exit"] == done.returncode
    return done.returncode, answer


@pytest.mark.parametrize(("first", "last"), [(40_000, 40_512), (40_000, 90_000), (0, 512), (5000, 5001)])
def test_in_a_segment(shim: str, small: Packed, tmp_path: Path, first: int, last: int) -> None:
    blocks = (last - 1) // 4096 - first // 4096 + 1
    status, answer = run(shim, small, tmp_path, "00000000.abs", first, last, "verify")
    assert (status, answer["error"]) == (11, "RepairableError")
    assert (answer["report"]["unreadable"], answer["report"]["damaged"]) == (blocks, 0)
    status, answer = run(shim, small, tmp_path, "00000000.abs", first, last, "unpack", "-o", str(tmp_path / "back"),
                         "--key", str(tmp_path / "r.key"))
    assert (status, answer["result"]["repaired"]) == (0, blocks)
    assert digests(tmp_path / "back") == digests(small.source)


def test_more_than_parity_gives_back(shim: str, small: Packed, tmp_path: Path) -> None:
    status, answer = run(shim, small, tmp_path, "00000000.abs", 10_000, 110_000, "verify")
    assert (status, answer["error"], answer["report"]["restorable"]) == (11, "RepairableError", [0])
    status, _ = run(shim, small, tmp_path, "00000000.abs", 10_000, 110_000, "unpack", "-o", str(tmp_path / "back"),
                    "--key", str(tmp_path / "r.key"))
    assert status == 0
    assert digests(tmp_path / "back") == digests(small.source)


def test_more_than_parity_and_group_give_back(shim: str, small: Packed, tmp_path: Path) -> None:
    small.segment(1).unlink()
    status, answer = run(shim, small, tmp_path, "00000000.abs", 10_000, 110_000, "verify")
    assert (status, answer["error"], answer["report"]["missing"]) == (4, "DamagedError", [0, 1])
    status, _ = run(shim, small, tmp_path, "00000000.abs", 10_000, 110_000, "unpack", "-o", str(tmp_path / "back"),
                    "--key", str(tmp_path / "r.key"))
    assert status == 4
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", [names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME,
                                  names.CATALOG_COPY_NAME])
def test_a_whole_file(shim: str, small: Packed, tmp_path: Path, name: str) -> None:
    status, _ = run(shim, small, tmp_path, name, 0, 1 << 30, "verify")
    assert status == 11
    status, _ = run(shim, small, tmp_path, name, 0, 1 << 30, "unpack", "-o", str(tmp_path / "back"), "--key",
                    str(tmp_path / "r.key"))
    assert status == 0
    assert digests(tmp_path / "back") == digests(small.source)


def test_repair_says_that_the_drive_does_not_hold_it(shim: str, small: Packed, tmp_path: Path) -> None:
    """Written again, and still not to be read: the drive is at fault, not the bundle."""
    status, answer = run(shim, small, tmp_path, "00000000.abs", 40_000, 40_512, "repair")
    assert (status, answer["error"]) == (9, "MediumError")
    assert "00000000.abs" in answer["where"]
