"""What lies on a block device, where no udevd says so: asked of libblkid, by a process that can do nothing else.

It opens the device, becomes nobody, is confined, and only then looks at what a stranger wrote.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from typing import Final

from airbundle.devices.sandbox import become, confine

_NOBODY: Final = 65534
_LIBRARY: Final = "libblkid.so.1"
_SUPERBLOCKS: Final = 0x0002 | 0x0020 | 0x0080  # LABEL, TYPE, USAGE of <blkid.h>
_NAMES: Final = {"TYPE": "ID_FS_TYPE", "USAGE": "ID_FS_USAGE", "LABEL": "ID_FS_LABEL", "PTTYPE": "ID_PART_TABLE_TYPE"}
"""Names of libblkid, and those of udev."""
TOLD: Final = frozenset(_NAMES.values())
"""All that is believed of an answer: a label may look like more lines, and who answers may be a stranger."""


def is_here() -> bool:
    """Whether there is such a library."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def tell_contents(node: str) -> int:
    """Print NAME=VALUE lines; nothing where there is nothing, or several things at once."""
    library = ctypes.CDLL(_LIBRARY)
    library.blkid_new_probe.restype = ctypes.c_void_p
    descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if os.geteuid() == 0:
        become(_NOBODY, _NOBODY)
    confine(readable=[], writable=[])
    probe = ctypes.c_void_p(library.blkid_new_probe())
    if not probe or library.blkid_probe_set_device(probe, descriptor, ctypes.c_int64(0), ctypes.c_int64(0)) != 0:
        return 1
    library.blkid_probe_enable_superblocks(probe, 1)
    library.blkid_probe_set_superblocks_flags(probe, _SUPERBLOCKS)
    library.blkid_probe_enable_partitions(probe, 1)
    if library.blkid_do_safeprobe(probe) != 0:
        return 0
    for number in range(library.blkid_probe_numof_values(probe)):
        name, value, size = ctypes.c_char_p(), ctypes.c_char_p(), ctypes.c_size_t()
        library.blkid_probe_get_value(probe, number, ctypes.byref(name), ctypes.byref(value), ctypes.byref(size))
        known = _NAMES.get((name.value or b"").decode(errors="replace"))
        if known:
            text = (value.value or b"").decode(errors="replace").replace("\n", " ")
            os.write(sys.stdout.fileno(), f"{known}={text}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(tell_contents(sys.argv[1]))
