"""Which devices may be mounted: the rows of a policy against what a device says of itself.

What a device says is a claim: a stick can call itself anything. Rows keep honest drives of other people out and tell
one from another; what a drive brings is believed for its signatures alone.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.devices.block import BlockDevice

FIELDS: Final = ("serial", "vendor", "model", "bus", "port")
"""What a row may ask of a device, each a pattern as of a shell."""


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """A kind of device that is let in: every pattern that is given has to fit."""

    serial: str = "*"
    vendor: str = "*"
    model: str = "*"
    bus: str = "*"
    port: str = "*"

    def fits(self, device: BlockDevice) -> bool:
        """Whether a device says of itself what this row asks."""
        return all(fnmatch.fnmatchcase(getattr(device, name), getattr(self, name)) for name in FIELDS)

    def __str__(self) -> str:
        asked = [f"{name} {getattr(self, name)}" for name in FIELDS if getattr(self, name) != "*"]
        return ", ".join(asked) or "any"


def require_rows(rows: Sequence[DeviceRow]) -> None:
    """Raise UsageError for a row that asks for nothing, and so would let everything in."""
    if DeviceRow() in rows:
        raise UsageError("a row of [[devices.allow]] asks for nothing",
                         hint="give serial, vendor, model, bus or port, or leave the row out")


def concerns(device: BlockDevice, rows: Sequence[DeviceRow]) -> bool:
    """Whether a device is the watcher's business at all: one that can be taken out, or on USB, or a row says where.

    A machine's own disks are none, and nothing is said of them, unless a row that fits names their bus or port.
    """
    return device.removable or device.bus == "usb" or any(
        row.fits(device) for row in rows if (row.bus, row.port) != ("*", "*"))


def barred(device: BlockDevice, rows: Sequence[DeviceRow]) -> str:
    """Why a device that concerns the watcher may not be mounted; nothing if it may. Without rows each may."""
    if not rows or any(row.fits(device) for row in rows):
        return ""
    return "the policy names no device like it"
