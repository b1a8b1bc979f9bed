"""airbundle with a bomb in it: `python -m tests.transfer.bomb N SHARE VERB ...` is killed at its N-th step on files.

Steps are writes, syncs and renames, on volumes and in the state folder; of a write only a share of the bytes goes out.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from airbundle.cli.main import main
from airbundle.media import system
from airbundle.media.folder import Folder


class Bomb:
    """Goes off at step `left`, a write after `share` of its bytes."""

    def __init__(self, left: int, share: float) -> None:
        self.left, self.share = left, share

    def step(self) -> bool:
        self.left -= 1
        return self.left == 0

    def laid_to(self, owner: Any, name: str) -> None:
        honest = getattr(owner, name)

        def with_bomb(*arguments: Any, **more: Any) -> Any:
            if self.step():
                if name == "write_all":
                    fd, view, offset = arguments
                    honest(fd, view[:int(len(view) * self.share)], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(*arguments, **more)

        setattr(owner, name, with_bomb)


if __name__ == "__main__":
    bomb = Bomb(int(sys.argv[1]), float(sys.argv[2]))
    for owner, name in ((system, "write_all"), (system, "sync_file"), (Folder, "sync"), (Folder, "rename"),
                        (os, "replace"), (os, "fsync")):
        bomb.laid_to(owner, name)
    sys.exit(main(sys.argv[3:]))
