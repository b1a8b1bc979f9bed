"""Where tests put their files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY: Final = "/dev/shm"
_ROOM: Final = 2 << 30


@contextlib.contextmanager
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one with 2 GiB of room; else on the disk."""
    there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM
    folder = Path(tempfile.mkdtemp(prefix="airbundle-", dir=_MEMORY if there else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
