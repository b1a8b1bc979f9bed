"""What a file is: by its first bytes; what its name says is only held against that.

A pickle is a pickle whatever it is called, and a `.safetensors` that is none is wrong. What neither bytes nor name
tell is `UNKNOWN`, which no gate examines.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airbundle.station.gates.window import Window


class FileKind(enum.Enum):
    """What a file is taken for."""

    SAFETENSORS = "safetensors"
    GGUF = "GGUF"
    ZIP = "a zip archive"
    PICKLE = "a pickle"
    PROGRAM = "a program"
    CODE = "code"
    JSON = "JSON"
    JSON_LINES = "JSON, a document a line"
    TEXT = "text"
    EMPTY = "empty"
    UNKNOWN = "unknown"


_HEAD: Final = 512
_ZIPS: Final = frozenset({b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\7\10"})
_PROGRAMS: Final = (
    b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf", b"\xbe\xba\xfe\xca", b"\0asm", b"!<arch>\n", b"BC\xc0\xde",
    b"dex\n0", b"\x4c\0\0\0\x01\x14\x02\0",
)
_SCRIPT: Final = re.compile(rb"\s*(?:#!|<\?php|<%@)", re.IGNORECASE)
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_KNOWN_BINARY: Final = (b"\x93NUMPY", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!",
                        b"\x89HDF", b"\x89PNG", b"\xff\xd8\xff", b"%PDF", b"\xd0\xcf\x11\xe0", b"OggS")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXT_SUFFIXES: Final = _words(
    "txt md rst csv tsv yaml yml toml ini cfg jinja jinja2 j2 template vocab merges bpe codes license bib log")
_SUFFIXES: Final = dict.fromkeys(_TEXT_SUFFIXES, FileKind.TEXT) | dict.fromkeys(_words(
    "py pyw pyi pyx pxd ipynb sh bash zsh fish ksh csh bat cmd ps1 psm1 vbs vbe js mjs cjs jse ts wsf hta html htm "
    "xhtml svg php pl pm rb lua tcl r jl go rs c cc cpp cu cuh h hpp java kt cs swift scala desktop service url scr "
    "reg inf applescript command mk cmake bzl jsp asp xsl xslt sql awk el vim gradle"), FileKind.CODE,
) | dict.fromkeys(_words(
    "exe dll so dylib sys com msi jar class pyc pyo pyd whl egg o a ko node apk deb rpm wasm cpl ocx dex pyz lnk"),
    FileKind.PROGRAM,
) | {"json": FileKind.JSON, "jsonl": FileKind.JSON_LINES, "ndjson": FileKind.JSON_LINES}
_CODE_NAMES: Final = frozenset({"makefile", "dockerfile", "containerfile", "jenkinsfile", "rakefile"})
_TORCH_SUFFIXES: Final = frozenset({"pt", "pth", "ckpt", "pkl", "pickle", "distcp"})


def suffix_of(path: str) -> str:
    """What stands behind the last dot of the name, in lower case; nothing for a name like `.metadata`."""
    name = path.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[1].lower() if "." in name[1:] else ""


def recognise(path: str, window: Window) -> FileKind:
    """What the file is taken for."""
    if window.size == 0:
        return FileKind.EMPTY
    head = window.read(0, min(_HEAD, window.size))
    return _by_bytes(head, window.size) or _by_name(path, head)


def _by_bytes(head: bytes, size: int) -> FileKind | None:
    """What the first bytes leave no doubt of."""
    length = int.from_bytes(head[:8], "little")
    compiled_python = head[2:4] == b"\r\n" and _BINARY.search(head[4:16])
    if head[:4] == b"GGUF":
        return FileKind.GGUF
    if head[:4] in _ZIPS:
        return FileKind.ZIP
    # In front of programs and scripts: a header of 23117 bytes begins with MZ, one of 8483 with #!
    if head[8:9] == b"{" and length < 1 << 32 and length <= size - 8:
        return FileKind.SAFETENSORS
    if head.startswith(_PROGRAMS) or (head[:2] == b"MZ" and _BINARY.search(head)) or compiled_python:
        return FileKind.PROGRAM
    if _SCRIPT.match(head):
        return FileKind.CODE
    return FileKind.PICKLE if head[:1] == b"\x80" and head[1:2] <= b"\5" else None


def _by_name(path: str, head: bytes) -> FileKind:
    """What the name says, where the bytes do not speak against it."""
    name = path.rsplit("/", 1)[-1].lower()
    if head.startswith(_KNOWN_BINARY):
        return FileKind.UNKNOWN
    if ".so." in name:
        return FileKind.PROGRAM
    if name in _CODE_NAMES:
        return FileKind.CODE
    return _SUFFIXES.get(suffix_of(path)) or (FileKind.UNKNOWN if _BINARY.search(head) else FileKind.TEXT)


def expected_of(path: str) -> frozenset[FileKind]:
    """What a file of this name has to be; nothing where the name does not say."""
    suffix = suffix_of(path)
    if suffix == "safetensors":
        return frozenset({FileKind.SAFETENSORS})
    if suffix == "gguf":
        return frozenset({FileKind.GGUF})
    if suffix in _TORCH_SUFFIXES or path.rsplit("/", 1)[-1] == ".metadata":
        return frozenset({FileKind.ZIP, FileKind.PICKLE})
    return frozenset()


def is_named_as_text(path: str) -> bool:
    """Whether the name says that a file is text: then it has to be, and else it may be something unknown."""
    return suffix_of(path) in _TEXT_SUFFIXES
