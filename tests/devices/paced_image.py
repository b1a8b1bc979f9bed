"""An image behind FUSE as `fuse_image` serves it, and no faster than a slow stick.

`python -m tests.devices.paced_image IMAGE FOLDER BYTES_PER_SECOND [FIRST-END ...]`, with sectors that cannot be read.
One answer is given at a time, so each takes as long as its bytes would.
"""

from __future__ import annotations

import errno
import sys
import time

import mfusepy

from tests.devices.fuse_image import SECTOR, SickImage


class PacedImage(SickImage):
    bytes_per_second = 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if self.bytes_per_second:
            time.sleep(size / self.bytes_per_second)
        return super().read(path, size, offset, fh)


def main(image: str, folder: str, bytes_per_second: str, *bad: str) -> None:
    ranges = [(int(first) * SECTOR, int(end) * SECTOR) for first, end in (part.split("-") for part in bad)]
    served = PacedImage(image, ranges, errno.EIO, 0, "wrap")
    served.bytes_per_second = int(bytes_per_second)
    mfusepy.FUSE(served, folder, foreground=True, direct_io=True, nothreads=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
