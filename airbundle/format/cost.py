"""The cost of Argon2id, in envelopes of type 2 and in key files (K-14): held against limits when it is made."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from airbundle.errors import FormatError
from airbundle.format import limits

_COST: Final = struct.Struct("<III")
COST_SIZE: Final = _COST.size


@dataclass(frozen=True, slots=True)
class PassphraseCost:
    """KiB of memory, iterations, lanes. Raises FormatError (K-14) for what no reader would run."""

    memory_kib: int = 256 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        few = 1 <= self.iterations <= limits.ARGON2_ITERATIONS_MAX and 1 <= self.lanes <= limits.ARGON2_LANES_MAX
        # RFC 9106 wants 8 KiB a lane.
        if not few or not 8 * self.lanes <= self.memory_kib <= limits.ARGON2_KIB_MAX:  # K-14
            raise FormatError(
                f"a passphrase asks for {self.memory_kib} KiB, {self.iterations} iterations and {self.lanes} lanes",
                hint=f"at most {limits.ARGON2_KIB_MAX} KiB, {limits.ARGON2_ITERATIONS_MAX} iterations and "
                f"{limits.ARGON2_LANES_MAX} lanes are allowed",
                rule="K-14",
            )

    def packed(self) -> bytes:
        """12 bytes of an envelope."""
        return _COST.pack(self.memory_kib, self.iterations, self.lanes)


def parse_cost(raw: bytes) -> PassphraseCost:
    """The cost that the 12 bytes of `raw` are. Raises FormatError (K-14)."""
    return PassphraseCost(*_COST.unpack(raw))
