"""The fixtures of the transfer tests: keys and small bundles to attack."""

from __future__ import annotations

from tests.transfer.conftest import _small, keys, small

__all__ = ["_small", "keys", "small"]
