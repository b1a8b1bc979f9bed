"""Lay vectors out as volumes for another reader: `python -m tests.vectors.lay DIR [VECTOR...]`.

`DIR/keys` gets the key files, `DIR/VECTOR/NUMBER/` the volumes, `DIR/VECTOR/vector.json` the line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vectors.people import write_people
from tests.vectors.volumes import lay_out, read_vectors


def main(target: Path, names: list[str]) -> None:
    (target / "keys").mkdir(parents=True)
    write_people(target / "keys")
    for vector in read_vectors():
        if not names or vector.name in names:
            lay_out(vector, target / vector.name)
            (target / vector.name / "vector.json").write_text(vector.line() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
