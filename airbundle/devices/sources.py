"""Where the watcher hears of drives: from udev, from the kernel itself, from the mount table, or from a folder.

A source says what is there, hears what comes and goes, and gives the folder in which a drive can be read. Those of udev
and kernel mount the drive themselves; the other two read what somebody else has mounted, such as a desktop.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from airbundle.devices import probing
from airbundle.devices.block import BlockDevice, describe_device, is_there
from airbundle.devices.mounting import mount_read_only, unmount
from airbundle.errors import MediumError, UsageError
from airbundle.format.names import shown
from airbundle.media.drive import device_answers
from airbundle.media.mount_table import mounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCES: Final = ("auto", "udev", "kernel", "mounts")
UDEVD: Final = "/run/udev/control"
_PROBE_TIMEOUT: Final = 5
_FOLDERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Plugged:
    """A device is there, or something of it changed."""

    device: BlockDevice


@dataclass(frozen=True, slots=True)
class Unplugged:
    """The device of this name is gone, whichever it was."""

    name: str


class DriveSource(Protocol):
    """What a watcher listens to."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def interval(self) -> float | None:
        """Seconds after which to call `heard` anyway; None: never."""

    def descriptors(self) -> Iterable[tuple[int, int]]:
        """What to poll, and for which events."""

    def attached(self) -> Iterable[BlockDevice]:
        """What is there."""

    def heard(self) -> Iterable[Plugged | Unplugged]:
        """What has happened since; does not wait."""

    def mount(self, device: BlockDevice, point: str) -> str:
        """The folder in which the drive can be read: `point`, an empty folder, or another. Raises AirbundleError."""

    def unmount(self, point: str) -> None:
        """Take away what `mount` gave. Raises MediumError."""

    def is_there(self, device: BlockDevice) -> bool:
        """Whether it is still attached, and answers."""


class DeviceSource:
    """Block devices, as udev tells of them, or as the kernel does where no udev runs."""

    interval = None

    def __init__(self, name: str) -> None:
        """`name` is udev or kernel. Raises UsageError."""
        try:
            import pyudev  # noqa: PLC0415 - not on every system, and only here
        except ImportError:
            raise UsageError("pyudev is not installed", hint="pip install pyudev, or --source mounts") from None
        if name == "udev" and not os.path.exists(UDEVD):
            raise UsageError("no udevd runs here: its source would be silent", hint="--source kernel, or mounts")
        if name == "kernel" and not probing.is_here():
            raise UsageError("libblkid is not installed", hint="it tells file systems apart where no udevd runs")
        self.name = name
        self._context = pyudev.Context()
        self._monitor = pyudev.Monitor.from_netlink(self._context, source=name)
        self._monitor.filter_by("block")
        self._monitor.start()

    def descriptors(self) -> Iterable[tuple[int, int]]:
        """The monitor's socket."""
        return ((self._monitor.fileno(), select.POLLIN),)

    def attached(self) -> Iterator[BlockDevice]:
        """Every block device that has a size."""
        for found in self._context.list_devices(subsystem="block"):
            device = self._describe(found)
            if device.size:
                yield device

    def heard(self) -> Iterator[Plugged | Unplugged]:
        """Events; one that takes the medium out of a reader, or a file out of a loop, is an end too."""
        while (found := self._monitor.poll(timeout=0)) is not None:
            name = str(found.sys_name)
            if found.action == "remove" or not _has_size(name):
                yield Unplugged(name)
            elif found.action in {"add", "change"}:
                yield Plugged(self._describe(found))

    def mount(self, device: BlockDevice, point: str) -> str:
        """Mounted read-only at `point`. Raises MediumError if another device has its name by now."""
        self._require_attached(device)
        mount_read_only(device.node, device.kind, point)
        try:
            self._require_attached(device)
        except MediumError:
            unmount(point)
            raise
        return point

    def _require_attached(self, device: BlockDevice) -> None:
        if not is_there(device):
            raise MediumError("is not attached any more", where=device.title)

    def unmount(self, point: str) -> None:
        """Not mounted any more."""
        unmount(point)

    def is_there(self, device: BlockDevice) -> bool:
        """Whether the same disk is attached and gives anything."""
        return is_there(device) and bool(device_answers(device.node))

    def _describe(self, found: Any) -> BlockDevice:
        properties = {str(name): str(value) for name, value in found.properties.items()}
        if self.name == "kernel" and properties.get("DEVNAME") and _has_size(str(found.sys_name)):
            properties |= probe(properties["DEVNAME"])
        return describe_device(str(found.sys_name), properties)


class MountsSource:
    """What is in the mount table, put there by somebody else."""

    name = "mounts"
    interval = None

    def __init__(self) -> None:
        self._table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._there: dict[str, BlockDevice] = {}
        self._points: dict[str, str] = {}

    def descriptors(self) -> Iterable[tuple[int, int]]:
        """The mount table, which speaks up when it changes."""
        return ((self._table, select.POLLPRI),)

    def attached(self) -> Iterator[BlockDevice]:
        """What is mounted from a block device."""
        for event in self.heard():
            if isinstance(event, Plugged):
                yield event.device

    def heard(self) -> Iterator[Plugged | Unplugged]:
        """The difference to the table as it was."""
        now: dict[str, BlockDevice] = {}
        for row in mounts():
            if row.source.startswith("/dev/"):
                name = os.path.basename(os.path.realpath(row.source))
                device = describe_device(name, {"ID_FS_TYPE": row.kind, "DEVNAME": row.source})
                self._points.setdefault(device.key, row.point)
                now[device.key] = device
        gone = [device for key, device in self._there.items() if key not in now]
        come = [device for key, device in now.items() if key not in self._there]
        self._there = now
        for device in gone:
            self._points.pop(device.key, None)
            yield Unplugged(device.name)
        for device in come:
            yield Plugged(device)

    def mount(self, device: BlockDevice, point: str) -> str:  # noqa: ARG002 - it is mounted elsewhere already
        """Where it is."""
        if device.key not in self._points:
            raise MediumError("is not mounted any more", where=device.title)
        return self._points[device.key]

    def unmount(self, point: str) -> None:
        """It is left where it is."""

    def is_there(self, device: BlockDevice) -> bool:
        """Whether it is mounted, and its disk attached."""
        return device.key in self._points and is_there(device)


class FolderSource:
    """The folders in one place: each stands for a drive. For what mounts drives in ways of its own, and for tests."""

    name = "folder"
    interval = 1.0

    def __init__(self, place: str) -> None:
        if not os.path.isdir(place):
            raise UsageError("it is not a folder", where=shown(place), hint="give the place where drives are mounted")
        self._place = os.path.realpath(place)
        self._there: dict[str, BlockDevice] = {}

    def descriptors(self) -> Iterable[tuple[int, int]]:
        """Nothing: folders are looked for from time to time."""
        return ()

    def attached(self) -> Iterator[BlockDevice]:
        """The folders that are there."""
        for event in self.heard():
            if isinstance(event, Plugged):
                yield event.device

    def heard(self) -> Iterator[Plugged | Unplugged]:
        """The difference to what was there."""
        now = {device.key: device for device in self._folders()}
        before, self._there = self._there, now
        for key, device in before.items():
            if key not in now:
                yield Unplugged(device.name)
        for key, device in now.items():
            if key not in before:
                yield Plugged(device)

    def mount(self, device: BlockDevice, point: str) -> str:  # noqa: ARG002 - it is there already
        """The folder itself."""
        return device.node

    def unmount(self, point: str) -> None:
        """It is left where it is."""

    def is_there(self, device: BlockDevice) -> bool:
        """Whether the same folder, on the same file system, is there."""
        return any(found.key == device.key for found in self._folders())

    def _folders(self) -> Iterator[BlockDevice]:
        with contextlib.suppress(OSError), os.scandir(self._place) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            for name in names[:_FOLDERS_MAX]:
                path = os.path.join(self._place, name)
                with contextlib.suppress(OSError):
                    status = os.stat(path, follow_symlinks=False)
                    yield BlockDevice(key=f"{name}:{status.st_dev}.{status.st_ino}", node=path, kind="folder",
                                      label=shown(name), removable=True)


def open_drive_source(name: str, place: str = "") -> DriveSource:
    """The source of this name; `auto` is udev where udevd runs, else kernel. Raises UsageError."""
    if place:
        return FolderSource(place)
    if name == "mounts":
        return MountsSource()
    if name in {"udev", "kernel"}:
        return DeviceSource(name)
    if name == "auto":
        return DeviceSource("udev" if os.path.exists(UDEVD) else "kernel")
    raise UsageError(f"--source {shown(name)}", hint=f"give {', '.join(SOURCES)}")


def probe(node: str) -> dict[str, str]:
    """What lies on a device, in udev's names (`probing.py`, in a process of its own); nothing if it does not answer."""
    process = subprocess.Popen(  # noqa: S603 - our own program, and a node that the kernel named
        [sys.executable, "-P", "-m", "airbundle.devices.probing", node], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        said, _ = process.communicate(timeout=_PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()  # it may hang for as long as the device does, and is not waited for
        return {}
    pairs = (line.partition("=") for line in said[:65536].decode(errors="replace").split("\n"))
    return {name: value for name, _, value in pairs if name in probing.TOLD}


def _has_size(name: str) -> bool:
    with contextlib.suppress(OSError), open(f"/sys/class/block/{name}/size", "rb") as file:
        return file.read(32).strip() not in {b"", b"0"}
    return False

