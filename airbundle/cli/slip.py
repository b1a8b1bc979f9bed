"""slip: one page to sign and to tape to the drive."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import Annotated, Final

import typer

from airbundle import api
from airbundle.cli import output
from airbundle.cli.choices import BundleId, Json, Trust
from airbundle.cli.slip_page import slip_page
from airbundle.errors import MediumError, UsageError
from airbundle.media.faults import reporting

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
QUIET: Final = ("--headless=new", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--no-first-run", "--no-default-browser-check", "--hide-scrollbars",
                "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-dev-shm-usage", "--virtual-time-budget=2000")
SECONDS: Final = 90
PAGE: Final = "794,1123"
"""CSS pixels of an A4 page; the picture has twice as many each way."""


def slip(volume: Annotated[str, typer.Argument(metavar="VOLUME", help="A .airbundle folder, or what holds one.")],
         target: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="slip.html, slip.pdf or slip.png; "
                                             "the last two need an installed Chromium.")],
         trust: Trust = None, bundle: BundleId = "", as_json: Json = False) -> None:
    """Make one page to sign and to tape to the drive: no key and no content names on it."""
    kind = os.path.splitext(target)[1].lower()
    if kind not in {".html", ".pdf", ".png"}:
        raise UsageError("the name of the slip has to end in .html, .pdf or .png", where=target)
    if os.path.lexists(target):
        raise UsageError("there is a file of this name already", where=target)
    found = api.make_slip(volume, trust=api.load_trust(*trust or ()), bundle=bundle)
    page = slip_page(found)
    with reporting(target):
        if kind == ".html":
            with open(target, "x", encoding="utf-8") as file:
                file.write(page)
        else:
            _print(page, target, kind)
    if as_json:
        output.emit("slip", found)
        return
    if not found.believed:
        output.warn("nobody who signed this bundle is trusted here, and the slip says so")
    output.good(f"written: {target}")


def _print(page: str, target: str, kind: str) -> None:
    """Let a browser that is installed print the page. It gets a file, a folder of its own, and no network."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise UsageError(f"no Chromium is installed, which makes the {kind[1:]}", where=target,
                         hint="give a name that ends in .html, and print it from any browser")
    with tempfile.TemporaryDirectory(prefix="airbundle-slip-") as folder:
        source, made = os.path.join(folder, "slip.html"), os.path.join(folder, f"slip{kind}")
        with open(source, "x", encoding="utf-8") as file:
            file.write(page)
        as_root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
        how = (f"--print-to-pdf={made}", "--no-pdf-header-footer") if kind == ".pdf" else (
            f"--screenshot={made}", f"--window-size={PAGE}", "--force-device-scale-factor=2")
        try:
            command = [browser, *QUIET, *as_root, f"--user-data-dir={folder}/profile", *how, f"file://{source}"]
            done = subprocess.run(command, check=False, capture_output=True, timeout=SECONDS)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise MediumError(f"{browser} did not print the page in {SECONDS} s", where=target) from None
        if done.returncode or not os.path.exists(made):
            raise MediumError(f"{browser} did not print the page", where=target,
                              hint="give a name that ends in .html, and print it from any browser")
        with open(made, "rb") as ready, open(target, "xb") as file:
            shutil.copyfileobj(ready, file)
