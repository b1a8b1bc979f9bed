"""A folder behind FUSE, read-only: when its server is killed, everything there says that it is not connected.

`python -m tests.devices.fuse_folder SOURCE FOLDER`, a process of its own, so that a test can kill it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import mfusepy

from tests.devices.fuse_image import READY


class ServedFolder(mfusepy.Operations):  # type: ignore[misc]
    use_ns = True

    def __init__(self, source: str) -> None:
        self.source = source

    def init(self, path: str) -> None:
        os.write(1, READY)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        try:
            found = os.lstat(self.source + path)
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno) from error
        return {"st_mode": found.st_mode, "st_nlink": found.st_nlink, "st_size": found.st_size}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self.source + path)]

    def open(self, path: str, flags: int) -> int:
        return os.open(self.source + path, os.O_RDONLY)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


if __name__ == "__main__":
    mfusepy.FUSE(ServedFolder(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True)
