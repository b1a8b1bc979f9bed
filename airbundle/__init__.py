"""Carry AI checkpoints across an air gap: compressed, sealed, signed, and repairable from the drive itself.

The functions of `airbundle.api` are offered here under their own names. They are imported when first asked for, so
that the command line can say how its libraries are to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.errors import AirbundleError
from airbundle.version import VERSION

if TYPE_CHECKING:
    from airbundle.api import (
        copy,
        inspect,
        load_private,
        load_public,
        load_trust,
        pack,
        plan,
        rebuild,
        repair,
        rescue,
        rewrap,
        salvage,
        sign,
        unpack,
        verify,
    )

__version__ = VERSION

__all__ = [
    "AirbundleError",
    "__version__",
    "copy",
    "inspect",
    "load_private",
    "load_public",
    "load_trust",
    "pack",
    "plan",
    "rebuild",
    "repair",
    "rescue",
    "rewrap",
    "salvage",
    "sign",
    "unpack",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from airbundle import api  # noqa: PLC0415 - see above

        return getattr(api, name)
    raise AttributeError(f"module 'airbundle' has no attribute '{name}'")
