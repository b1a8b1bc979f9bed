"""The fixtures of the transfer tests: keys, bundles, and a state folder of their own."""

from __future__ import annotations

from tests.transfer.conftest import _large, _small, _striped, keys, large, small, striped

__all__ = ["_large", "_small", "_striped", "keys", "large", "small", "striped"]
