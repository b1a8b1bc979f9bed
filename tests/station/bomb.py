"""An import with a bomb in it: `python -m tests.station.bomb N SHARE NOTES import ...` is killed at its N-th step.

Steps are those of `tests.transfer.bomb`, renames and links, and the writes of ledger and audit log. The number of every
segment that was written out goes into the file NOTES.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from airbundle.cli.main import main
from airbundle.media import system
from airbundle.media.folder import Folder
from airbundle.station.ledger import Ledger
from airbundle.transfer.landing import Landing
from tests.transfer.bomb import Bomb

if __name__ == "__main__":
    bomb = Bomb(int(sys.argv[1]), float(sys.argv[2]))
    notes = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    honest = Landing.add

    def add(self: Landing, number: int, size: int) -> None:
        os.write(notes, b"%d\n" % number)
        honest(self, number, size)

    Landing.add = add  # type: ignore[method-assign]
    steps: list[tuple[Any, str]] = [
        (system, "write_all"), (system, "sync_file"), (Folder, "sync"), (Folder, "rename"), (os, "replace"),
        (os, "fsync"), (os, "rename"), (os, "link"), (os, "symlink"), (os, "rmdir"), (Ledger, "_intend"),
        (Ledger, "_remember"), (Ledger, "_move_on"), (Ledger, "_enter"), (Ledger, "conclude")]
    for owner, name in steps:
        bomb.laid_to(owner, name)
    sys.exit(main(sys.argv[4:]))
