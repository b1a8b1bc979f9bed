"""The version of this package, and the name that it signs as the writer of a bundle."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
WRITER: Final = f"airbundle {VERSION}"
