"""The slip: what is on it and what is not, one page whatever a stranger writes, and a code that can be read."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.cli.slip import BROWSERS
from airbundle.cli.slip_page import slip_page
from airbundle.crypto.identities import fingerprint_words
from airbundle.transfer.slip import Slip, SlipSigner
from tests.station.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

HAS_BROWSER = any(shutil.which(name) for name in BROWSERS)
WORST = Slip(
    bundle="f" * 32, label="W" * 250, marking="MARKING " * 31, series="s" * 250 + " 9007199254740991", suite="cnsa2",
    volume="63 and 64 of 64 (copy)", lose=63, name="n" * 200 + "-64of64.airbundle", drive="d" * 200, serial="s" * 200,
    stored=1 << 52, size=1 << 52,
    created=2**53 - 1, expires=2**53 - 1, revision=2**53 - 1, statement="e" * 96, believed=False,
    signers=tuple(SlipSigner("m" * 200, "signer", "ffff " * 8, fingerprint_words(bytes(16))) for _ in range(10)),
    last_event="1000: handed-over, seal " + "s" * 200, last_event_hash="a" * 64)


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def test_what_is_on_it_and_what_is_not(desk: Desk) -> None:
    volumes = desk.pack(drives=3, sequence=7, marking="UNCLASSIFIED")
    api.add_custody(volumes[1], sign=desk.people.alice, kind="handed-over", trust=desk.people.trust(), seal="A-17",
                    serial="WD-4711")
    found = api.make_slip(volumes[1], trust=desk.people.trust())
    said = text_of(slip_page(found))
    assert (found.volume, found.believed, found.lose) == ("2 of 3", True, 1)
    assert found.serial.endswith("but WD-4711 was recorded")
    assert found.stored > 0
    assert found.size > 0
    for text in ("UNCLASSIFIED", "volume 2 of 3", "WD-4711", found.bundle, desk.people.alice.public.words,
                 desk.people.rita.public.hex, "handed-over by alice, seal A-17", "llama 7"):
        assert text in said, text
    assert found.statement in said.replace(" ", "")
    assert not re.search(r"safetensors|config\.json|README|script|http|src=", slip_page(found))


def test_a_stranger_s_bundle_says_so(desk: Desk) -> None:
    (volume,) = desk.pack(by=desk.people.mallory, released=False)
    found = api.make_slip(volume, trust=desk.people.trust())
    assert not found.believed
    assert "nobody that is trusted here" in text_of(slip_page(found))


def test_what_a_stranger_writes_is_no_markup(desk: Desk) -> None:
    (volume,) = desk.pack(marking='<script>alert("x")</script>&')
    page = slip_page(api.make_slip(volume, trust=desk.people.trust()))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_names_of_files(desk: Desk, tmp_path: Path) -> None:
    (volume,) = desk.pack()
    trust = ["--trust", str(desk.high / "keys" / "alice.pub")]
    out = tmp_path / "slip.html"
    assert main(["slip", volume, "-o", str(out), *trust]) == 0
    assert main(["slip", volume, "-o", str(out), *trust]) == 2
    assert main(["slip", volume, "-o", str(tmp_path / "slip.doc"), *trust]) == 2
    assert main(["slip", str(desk.place), "-o", str(tmp_path / "other.html"), *trust]) == 2


def test_without_a_browser(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (volume,) = desk.pack()
    monkeypatch.setenv("PATH", str(tmp_path))
    trust = ["--trust", str(desk.high / "keys" / "alice.pub")]
    assert main(["slip", volume, "-o", str(tmp_path / "slip.pdf"), *trust]) == 2
    assert not (tmp_path / "slip.pdf").exists()


@pytest.mark.real
@pytest.mark.skipif(not HAS_BROWSER, reason="no Chromium here")
def test_one_page_in_a_browser(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (volume,) = desk.pack()
    trust = ["--trust", str(desk.high / "keys" / "alice.pub")]
    for name in ("slip.pdf", "slip.png"):
        assert main(["slip", volume, "-o", str(tmp_path / name), *trust]) == 0
    assert pages(tmp_path / "slip.pdf") == 1
    if shutil.which("zbarimg"):
        done = subprocess.run(["zbarimg", "--quiet", "--raw", tmp_path / "slip.png"], check=True, capture_output=True)
        found = api.make_slip(volume, trust=desk.people.trust())
        assert done.stdout.decode().strip().lower() == found.statement
    monkeypatch.setattr(api, "make_slip", lambda *_, **__: WORST)
    assert main(["slip", volume, "-o", str(tmp_path / "worst.pdf"), *trust]) == 0
    assert pages(tmp_path / "worst.pdf") == 1


def pages(path: Path) -> int:
    return len(re.findall(rb"/Type */Page\b", path.read_bytes()))
