"""The fixtures of the transfer tests: keys, and a state folder of their own."""

from __future__ import annotations

from tests.transfer.conftest import keys

__all__ = ["keys"]
