"""Workers that do not see the same file system: real processes with a file system of their own, so it takes root."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import AirbundleError, MediumError, SourceChangedError, UsageError

if TYPE_CHECKING:
    from tests.cluster.conftest import Site

_NEW_NAMESPACE, _PRIVATE, _RECURSIVE, _READ_ONLY = 0x20000, 1 << 18, 1 << 14, 1
_REMOUNT, _BIND = 1 << 5, 1 << 12


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)


def hide(path: str, way: str) -> None:
    """In this process only: something else lies over the folder, or it cannot be written."""
    _call("unshare", _NEW_NAMESPACE)
    _call("mount", b"none", b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None)
    raw = os.fsencode(path)
    if way == "read-only":
        _call("mount", raw, raw, None, ctypes.c_ulong(_BIND), None)
        _call("mount", raw, raw, None, ctypes.c_ulong(_BIND | _REMOUNT | _READ_ONLY), None)
        return
    names = os.listdir(path)
    inner = {name: os.listdir(os.path.join(path, name)) for name in names if os.path.isdir(os.path.join(path, name))}
    _call("mount", b"tmpfs", raw, b"tmpfs", ctypes.c_ulong(0), None)
    if way == "another":
        for name in names:
            if name in inner:
                os.mkdir(os.path.join(path, name))
            else:
                Path(path, name).write_bytes(b"something else")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="making a file system of one's own takes root")
@pytest.mark.parametrize(("hidden", "way", "kind", "status", "match"), [
    ("source", "nothing", UsageError, 2, "is not there on the worker"),
    ("source", "another", SourceChangedError, 9, "is another file on the worker"),
    ("drive0", "nothing", UsageError, 2, "this folder is not on the worker"),
    ("drive0", "another", UsageError, 2, "this folder is another one on the worker"),
    ("drive0", "read-only", MediumError, 9, "read-only|cannot be written"),
])
def test_what_a_worker_does_not_see(site: Site, hidden: str, way: str, kind: type[AirbundleError], status: int,
                                    match: str) -> None:
    (site.source / "noise").rename(site.place / "noise")
    for entry in list(site.source.iterdir()):
        if entry.is_dir():
            for inner in entry.iterdir():
                inner.unlink()
            entry.rmdir()
    (site.place / "noise").rename(site.source / "noise")
    site.drives(1)
    spawn = multiprocessing.get_context("spawn")
    folder = str(site.place / hidden)
    # The folder of the bundle has to be there before the workers start, as a run that was stopped leaves it.
    with pytest.raises(KeyboardInterrupt):
        site.pack(None, progress=_stop)
    pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=hide, initargs=(folder, way))
    with pool as executor, pytest.raises(kind, match=match) as caught:
        site.pack(executor)
    assert caught.value.exit_status == status
    if way in {"nothing", "another"} and kind is UsageError:
        assert "all workers share" in caught.value.hint
    site.comes_back(site.pack(None))


def _stop(_tick: object) -> None:
    raise KeyboardInterrupt
