"""Sticks that are made up, and how an import of what they hold may end."""

from __future__ import annotations

from airbundle.devices.block import BlockDevice
from airbundle.devices.gathering import ImportEnd

ENDS = {0: ImportEnd(0), 3: ImportEnd(3, "incomplete"), 4: ImportEnd(4, "damaged"), 5: ImportEnd(5, "stranger"),
        6: ImportEnd(6, "replay"), 7: ImportEnd(7, "gate-finding"), 8: ImportEnd(8, "no-key"),
        9: ImportEnd(9, "environment"), 1: ImportEnd(1, "bug")}


def stick(number: int, sequence: int = 1, **more: object) -> BlockDevice:
    about: dict[str, object] = {"key": f"sd{number}:{sequence}", "node": f"/dev/sd{number}", "kind": "vfat",
                                "serial": f"S{number}", "removable": True}
    return BlockDevice(**{**about, **more})  # type: ignore[arg-type]
