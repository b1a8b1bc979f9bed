"""The README.txt of a volume: for whoever finds the drive. Says nothing about the content."""

from __future__ import annotations

from typing import Final

_TEXT: Final = """This folder is volume {number} of {count} of an airbundle bundle.

  bundle id   {bundle}

It is encrypted, signed and protected against damage. Nothing on it is meant to
be opened by hand, and nothing on it is a program.

If you found this drive: please do not change or add files, and give it back to
whoever lost it.

If it was sent to you: install airbundle (Python) from a place that you trust,
never from this drive, and run

  airbundle inspect  THIS-FOLDER
  airbundle verify   THIS-FOLDER --trust SENDER.pub

The folder may be copied with any tool onto any medium. The format is described
in the file spec/bundle.md of the airbundle source.
"""


def volume_readme(bundle_id: bytes, number: int, count: int) -> bytes:
    """The text, with line ends that every system shows."""
    return _TEXT.format(bundle=bundle_id.hex(), number=number, count=count).replace("\n", "\r\n").encode()
