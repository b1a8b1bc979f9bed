"""Options that several verbs share, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Volumes = Annotated[list[str], typer.Argument(
    metavar="VOLUME", help="A .airbundle folder, or a mount point or folder that holds one.")]
Trust = Annotated[list[str] | None, typer.Option(
    "--trust", metavar="NAME.pub|DIR", help="Whom to believe; once for each. Default: the trust store.")]
Sidecar = Annotated[str, typer.Option(
    "--sidecar", metavar="DIR", help="A folder with one more copy of statement and catalog, as the packer keeps it.")]
Keys = Annotated[list[str] | None, typer.Option("--key", metavar="NAME.key", help="A recipient's private key.")]
KeyPassphrase = Annotated[str | None, typer.Option(
    "--key-passphrase-file", metavar="FILE", help="Passphrase of the key ('-': standard input).")]
BundlePassphrase = Annotated[str | None, typer.Option(
    "--passphrase-file", metavar="FILE", help="Passphrase of the bundle ('-': standard input).")]
BundleId = Annotated[str, typer.Option("--bundle", metavar="ID", help="Which bundle, where there are several.")]
Jobs = Annotated[int, typer.Option(
    "--jobs", "-j", min=0, max=256, show_default="by cores and memory", help="Segments at a time.")]
ProgressStyle = Annotated[str, typer.Option("--progress", metavar="auto|plain|json|none", help="How to show progress.")]
SegmentSize = Annotated[str, typer.Option(
    "--segment-size", metavar="SIZE", show_default="16M to 64M, by the size of SRC",
    help="Source bytes of a segment.")]
Lose = Annotated[int | None, typer.Option(
    "--lose", metavar="L", min=0, max=63, show_default="1 for three drives or more, else 0",
    help="How many drives may be lost.")]
Parity = Annotated[float, typer.Option("--parity", metavar="PCT", min=0, max=100, help="Parity blocks in percent.")]
