"""Everything that a machine without a network needs to install airbundle: `python tools/wheelhouse.py -o DIR`.

Wheels of airbundle and of all it needs for the Python that runs this and one platform, `requirements.txt` with the hash
of each, `install.sh`, `sbom.cdx.json` (CycloneDX 1.6), and `SHA256SUMS` over all of them. Needs an index to take the
wheels from; `install.sh` needs none. For another Python, run it with that one: what is needed depends on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUMS = "SHA256SUMS"
PLATFORMS = {
    "x86_64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"),
    "aarch64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}
INSTALL = """#!/bin/sh
# Install airbundle from the wheels beside this file, without a network: ./install.sh [FOLDER OF THE ENVIRONMENT]
# Every wheel has to have the hash that requirements.txt says.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${{1:-/opt/airbundle}}
python=${{PYTHON:-python{python}}}
"$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "{python}")' || {{
    echo "these wheels are for Python {python}; say where it is with PYTHON=..." >&2
    exit 2
}}
"$python" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here" \\
    --require-hashes --requirement "$here/requirements.txt"
echo "installed: $target/bin/airbundle"
"""


@dataclass(frozen=True)
class Wheel:
    """One wheel, its metadata and its SHA-256."""

    path: Path
    metadata: Message
    sha256: str

    @property
    def name(self) -> str:
        """Name of the distribution."""
        return str(self.metadata["Name"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.metadata["Version"])

    @property
    def licence(self) -> str:
        """What its metadata says of its licence; the first line of a long one."""
        said = self.metadata["License-Expression"] or self.metadata["License"] or ""
        classifiers = [line.rpartition(" :: ")[2] for line in self.metadata.get_all("Classifier", [])
                       if line.startswith("License ::")]
        return (str(said).strip().splitlines() or classifiers or ["unknown"])[0][:120]


def main() -> int:
    parser = argparse.ArgumentParser(prog="wheelhouse", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist" / "wheelhouse")
    parser.add_argument("--machine", default="x86_64", choices=sorted(PLATFORMS))
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    ours = (folder / SUMS).exists()
    for old in folder.iterdir():
        if not ours:
            print(f"{folder} has something in it that this program did not put there", file=sys.stderr)
            return 2
        old.unlink()
    python = "{}.{}".format(*sys.version_info[:2])
    fetch(folder, python, PLATFORMS[options.machine])
    wheels = sorted((read_wheel(path) for path in folder.glob("*.whl")), key=lambda wheel: wheel.name.lower())
    (folder / "requirements.txt").write_text(
        "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels))
    (folder / "sbom.cdx.json").write_text(json.dumps(sbom(wheels), indent=1) + "\n")
    script = folder / "install.sh"
    script.write_text(INSTALL.format(python=python))
    script.chmod(0o755)
    files = sorted(folder.iterdir())
    (folder / SUMS).write_text("".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(wheels)} wheels for Python {python} on {options.machine}, {size >> 20} MiB: {folder}")
    return 0


def fetch(folder: Path, python: str, platforms: tuple[str, ...]) -> None:
    """Build the wheel of this project, and take those of what it needs."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (own,) = folder.glob("*.whl")
    named = [word for platform in platforms for word in ("--platform", platform)]
    subprocess.run([*pip, "download", "--only-binary", ":all:", "--python-version", python, "--implementation", "cp",
                    *named, "--dest", folder, own], check=True)


def read_wheel(path: Path) -> Wheel:
    """A wheel's metadata and hash."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(name), headersonly=True)
    return Wheel(path, metadata, hashlib.sha256(path.read_bytes()).hexdigest())


def sbom(wheels: list[Wheel]) -> dict[str, object]:
    """CycloneDX 1.6: every wheel with version, licence and hash. The same wheels give the same document."""
    components = [{
        "type": "library", "bom-ref": f"pkg:pypi/{wheel.name.lower()}@{wheel.version}", "name": wheel.name,
        "version": wheel.version, "purl": f"pkg:pypi/{wheel.name.lower()}@{wheel.version}",
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
        "licenses": [{"license": {"name": wheel.licence}}],
        "properties": [{"name": "file", "value": wheel.path.name}]} for wheel in wheels]
    own = next(component for component in components if component["name"] == "airbundle")
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": {"component": {"type": "application", "bom-ref": "airbundle", "name": "airbundle",
                                       "version": own["version"]}},
            "components": components}


if __name__ == "__main__":
    sys.exit(main())
