"""A block device as /sys and udev describe it. Nothing on the device itself is read here.

Who it is: its name and `diskseq`, the number that the kernel gives to each disk that comes and never gives again
(5.15 and later). A name alone is used again for the next stick.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.format.names import shown
from airbundle.media.drive import Attached, serial_above

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLOCK: Final = "/sys/class/block"
_SECTOR: Final = 512
_NO_SEQUENCE: Final = "0"
_TEXT_MAX: Final = 128
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")
_USB_PORT: Final = re.compile(r"/usb[0-9]+/(?:[^/]+/)*?([0-9]+-[0-9.]+)/[0-9]+-[0-9.]+:")


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk or a part of one, with what its file system seems to be. Texts but `node` are cut and fit to be shown.

    `key` tells it from every other that was or will be there. `size` in bytes; `kind` is the kernel's name of the file
    system, nothing if there is none, and `parts` whether it is only the whole of its parts.
    """

    key: str
    node: str
    size: int = 0
    kind: str = ""
    label: str = ""
    serial: str = ""
    vendor: str = ""
    model: str = ""
    bus: str = ""
    port: str = ""
    removable: bool = False
    parts: bool = False

    @property
    def name(self) -> str:
        """Its name, which the next one may have again."""
        return self.key.rpartition(":")[0]

    @property
    def title(self) -> str:
        """What to call it to a person: its label, what it says it is, and where it is plugged in."""
        words = " ".join(filter(None, (self.vendor, self.model))) or shown(os.path.basename(self.node))
        name = words if self.label in {"", words} else f"'{self.label}' ({words})"
        return f"{name} at port {self.port}" if self.port else name


def describe_device(name: str, properties: Mapping[str, str]) -> BlockDevice:
    """The device `name` (such as `sdb1`), from /sys and from what udev or blkid found (their names of properties)."""
    folder = os.path.realpath(os.path.join(_BLOCK, name))
    disk = _disk_above(folder)
    usb = _USB_PORT.search(disk + "/")
    about = os.path.join(disk, "device")
    is_file_system = properties.get("ID_FS_USAGE", "filesystem") == "filesystem"
    kind = _text(properties.get("ID_FS_TYPE", "")) if is_file_system else ""
    return BlockDevice(
        key=f"{name}:{properties.get('DISKSEQ') or _read(disk, 'diskseq') or _NO_SEQUENCE}",
        node=properties.get("DEVNAME") or f"/dev/{name}",
        size=int(_read(folder, "size") or 0) * _SECTOR,
        kind=kind,
        label=_text(_plain(properties.get("ID_FS_LABEL_ENC", "")) or properties.get("ID_FS_LABEL", "")),
        serial=_text(properties.get("ID_SERIAL_SHORT", "") or serial_above(disk)),
        vendor=_text(_plain(properties.get("ID_VENDOR_ENC", "")) or _read(about, "vendor")),
        model=_text(_plain(properties.get("ID_MODEL_ENC", "")) or _read(about, "model")),
        bus=_text(properties.get("ID_BUS", "") or ("usb" if usb else _bus(disk))),
        port=usb[1] if usb else "",
        removable=_read(disk, "removable") == "1",
        parts=_has_parts(folder) or ("ID_PART_TABLE_TYPE" in properties and not kind))  # FAT looks like a table too


def is_there(device: BlockDevice) -> bool:
    """Whether it is still the one that is attached under its name."""
    folder = os.path.realpath(os.path.join(_BLOCK, device.name))
    sequence = device.key.rpartition(":")[2]
    disk = os.path.basename(_disk_above(folder))
    return not Attached(folder, ((disk, "" if sequence == _NO_SEQUENCE else sequence),)).is_gone()


def _disk_above(folder: str) -> str:
    """The folder in /sys of the whole disk: of a part its parent."""
    return os.path.dirname(folder) if os.path.exists(os.path.join(folder, "partition")) else folder


def _has_parts(folder: str) -> bool:
    name = os.path.basename(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return any(entry.name.startswith(name) for entry in entries)
    return False


def _bus(disk: str) -> str:
    """What the kernel calls the bus of a disk; `virtual` for what is no hardware, such as a loop."""
    if disk.startswith("/sys/devices/virtual/"):
        return "virtual"
    return os.path.basename(os.path.realpath(os.path.join(disk, "device", "subsystem")))


def _read(folder: str, name: str) -> str:
    with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
        return file.read(256).decode(errors="replace").strip()
    return ""


def _plain(text: str) -> str:
    """A text in which udev wrote odd bytes by their numbers."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1", "replace").decode(
        errors="replace").strip()


def _text(text: str) -> str:
    return shown(text.strip())[:_TEXT_MAX]
