"""Carry AI checkpoints across an air gap: compressed, sealed, signed, and repairable from the drive itself."""

from __future__ import annotations

from airbundle.api import (
    inspect,
    load_private,
    load_public,
    load_trust,
    pack,
    plan,
    repair,
    unpack,
    verify,
)
from airbundle.errors import AirbundleError
from airbundle.version import VERSION as __version__  # noqa: N811 - the name that Python expects

__all__ = [
    "AirbundleError",
    "__version__",
    "inspect",
    "load_private",
    "load_public",
    "load_trust",
    "pack",
    "plan",
    "repair",
    "unpack",
    "verify",
]
