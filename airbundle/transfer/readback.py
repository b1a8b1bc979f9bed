"""Read back what was written, past the page cache, and compare it with what it was written from.

All is compared in windows. What differs is the fault of the medium, whatever it says of itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from airbundle.errors import MediumError, UnreliableDriveError
from airbundle.format.limits import MIB
from airbundle.media import system

if TYPE_CHECKING:
    from airbundle.media.writing import VolumeWriter
    from airbundle.transfer.image import Image
    from airbundle.transfer.workspace import Workspace


def require_image(volume: VolumeWriter, space: Workspace, name: str, image: Image) -> None:
    """The file holds the segment of `image` and nothing behind it. Raises MediumError."""
    blocks = image.blocks.reshape(-1)
    with volume.opened(name) as descriptor:
        for at in range(0, len(blocks), len(space.window)):
            part = space.window[:len(blocks) - at]
            count = system.read_into(descriptor, part.data, at)
            if count != len(part) or not np.array_equal(part, blocks[at:at + len(part)]):
                raise _differs(volume, name, f", near byte {at:,}")
        if os.fstat(descriptor).st_size != len(blocks):
            raise _differs(volume, name)


def holds_image(volume: VolumeWriter, space: Workspace, name: str, image: Image) -> bool:
    """Whether the file is there and holds the segment of `image` and nothing behind it; no if it cannot be read."""
    try:
        require_image(volume, space, name, image)
    except (FileNotFoundError, MediumError):
        return False
    return True


def require_content(volume: VolumeWriter, name: str, content: bytes | memoryview) -> None:
    """The small file holds `content` and nothing else. Raises MediumError."""
    if not holds_content(volume, name, content):
        raise _differs(volume, name)


def holds_content(volume: VolumeWriter, name: str, content: bytes | memoryview) -> bool:
    """Whether the small file is there and holds `content` and nothing else. Raises MediumError."""
    wanted, found = memoryview(content), bytearray(min(len(content) + 1, MIB))
    try:
        with volume.opened(name) as descriptor, memoryview(found) as view:
            for at in range(0, len(wanted) + 1, len(found)):
                count = system.read_into(descriptor, view, at)
                if found[:count] != wanted[at:at + len(found)]:
                    return False
    except FileNotFoundError:
        return False
    return True


def _differs(volume: VolumeWriter, name: str, near: str = "") -> UnreliableDriveError:
    return volume.differs(name, f"does not hold what was written to it{near}")
