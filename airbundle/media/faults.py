"""What the operating system says, in words: an OSError becomes a MediumError that names the place and the next step.

Not here: which faults are damage that parity repairs. `DAMAGE` lists their numbers, `system.read_blocks` acts on it.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from airbundle.errors import MediumError, PulledError
from airbundle.format.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a drive says of a bad sector, and a file system of a bad checksum: damage, not the end of a run.
DAMAGE: Final = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ENODATA", "EILSEQ", "EREMOTEIO", "EBADMSG", "EUCLEAN")
    if hasattr(errno, name)
)
# What only a drive that is not there says, or a file system without a server.
GONE: Final = frozenset(
    getattr(errno, name) for name in ("ENODEV", "ENXIO", "ENOMEDIUM", "ENOTCONN", "ESHUTDOWN") if hasattr(errno, name))
RECONNECT: Final = "connect the drive again, then run the same command again"
_SPACE: Final = "make room or use another medium, then run the same command again"
_HINTS: Final = {
    errno.ENOSPC: ("no space is left", _SPACE),
    errno.EDQUOT: ("the quota is used up", _SPACE),
    errno.EFBIG: ("a file of this size does not fit on this file system", "use another file system"),
    errno.EROFS: ("it is read-only", "check the write-protect switch and how the drive is mounted"),
    **dict.fromkeys(GONE, ("the device is gone", RECONNECT)),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.EACCES: ("permission denied", "check who may read and write here"),
    errno.EPERM: ("permission denied", "check who may read and write here"),
    errno.EIO: ("the device reports an I/O error", "check the cable and the drive; do not trust this drive"),
    errno.EMFILE: ("too many open files", "raise the limit with `ulimit -n`"),
}


def medium_error(error: OSError, where: str) -> MediumError:
    """`error` in words: what happened at `where` and what to do."""
    what, hint = _HINTS.get(error.errno or 0, (error.strerror or str(error), ""))
    kind = PulledError if error.errno in GONE else MediumError
    return kind(what, where=shown(where), hint=hint)


@contextlib.contextmanager
def reporting(where: str) -> Iterator[None]:
    """Turn each OSError inside into a MediumError that names `where`."""
    try:
        yield
    except OSError as error:
        raise medium_error(error, where) from error
