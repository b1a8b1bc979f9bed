"""Standard streams that may be closed, and folders that nobody else may enter."""

from __future__ import annotations

import contextlib
import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def replace_closed() -> None:
    """Give each standard stream that is closed to the null device.

    Otherwise the next file that is opened, perhaps one on a drive, would have its number.
    """
    for name, mode in _STREAMS:  # in order of their numbers, since the lowest free one is given
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def flush_output() -> bool:
    """Whether everything that was printed on standard output has gone out; if not, the rest is thrown away."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        return False
    return True


def make_private(path: str) -> str:
    """Make the folder `path` and all that are missing on the way, mode 0700 whatever the umask. Raises OSError."""
    path = os.path.abspath(path)
    missing = []
    while not os.path.isdir(path) and path != os.path.dirname(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        path = folder
    return path
