"""Keep a bundle of this version for ever: `python -m tests.vectors.release`. Made once a version, never again.

Nothing is given to `pack` but a source and keys: these are the bytes that this version writes.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from unittest import mock

from airbundle import api
from airbundle.transfer.plan import Options
from airbundle.version import WRITER
from tests.transfer.workshop import KIB
from tests.vectors.bases import source
from tests.vectors.make import write_archive
from tests.vectors.people import person
from tests.vectors.run import tree_of

RELEASES = Path(__file__).parents[2] / "fixtures" / "releases"


def main() -> None:
    version = WRITER.split()[-1]
    for suite in ("standard", "cnsa2"):
        archive = RELEASES / f"{version}-{suite}.tar.xz"
        if archive.exists():
            raise SystemExit(f"{archive} is there: a release is made once")
        with tempfile.TemporaryDirectory(prefix="vectors-") as name, \
                mock.patch.dict(os.environ, XDG_STATE_HOME=f"{name}/state"):
            place = Path(name)
            made_of = source(place / "source")
            (place / "1").mkdir()
            api.pack(str(made_of), str(place / "1"), sign=person(f"packer-{suite}"),
                     to=[person(f"reader-{suite}").public], options=Options(segment_size=8 * KIB))
            files = {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.glob("1/*/*"))}
            write_archive(archive, files)
            line = {"archive": archive.name, "writer": WRITER, "trust": f"packer-{suite}", "key": f"reader-{suite}",
                    "tree": tree_of(made_of)}
        with open(RELEASES / "releases.jsonl", "a", encoding="ascii") as out:
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
