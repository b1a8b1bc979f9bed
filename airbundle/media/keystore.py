"""Key files and the folder of trusted keys: bytes in, bytes out, bounded."""

from __future__ import annotations

import os

from airbundle.errors import UsageError
from airbundle.format import limits
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.faults import medium_error, reporting
from airbundle.media.streams import make_private

PUBLIC_SUFFIX = ".pub"
PRIVATE_SUFFIX = ".key"


def trust_folder() -> str:
    """`$XDG_CONFIG_HOME/airbundle/trust`; may not exist yet."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "airbundle", "trust")


def read_key_file(path: str) -> bytes:
    """All of a small file. Raises UsageError when it is not there, no file, or too big; MediumError."""
    try:
        fd = system.open_file(path, os.O_RDONLY | system.NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("there is no such file", where=shown(path), hint="check the path") from None
    except OSError as error:
        raise medium_error(error, path) from error
    try:
        if not system.is_regular(fd):
            raise UsageError("it is not a file", where=shown(path), hint="give a key file that keygen made")
        buffer = bytearray(limits.IDENTITY_FILE_MAX + 1)
        with reporting(path), memoryview(buffer) as view:
            got = system.read_into(fd, view, 0)
    finally:
        os.close(fd)
    if got > limits.IDENTITY_FILE_MAX:
        raise UsageError("it is too big for a key file", where=shown(path), hint="give a key file that keygen made")
    return bytes(buffer[:got])


def write_key_file(path: str, content: bytes, *, secret: bool) -> None:
    """A new file, 0600 if `secret`; never replaces one. Raises UsageError, MediumError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | system.NOFOLLOW, 0o600 if secret else 0o644)
    except FileExistsError:
        raise UsageError("there is a file of this name already", where=shown(path),
                         hint="keys are never replaced: take another name") from None
    except OSError as error:
        raise medium_error(error, path) from error
    try:
        with reporting(path):
            system.write_all(fd, memoryview(content), 0)
            os.fsync(fd)
    finally:
        os.close(fd)


def public_files(folder: str) -> list[str]:
    """The `.pub` files of a folder, in order; none if there is no folder. Raises MediumError."""
    if not os.path.isdir(folder):
        return []
    with reporting(folder):
        return sorted(os.path.join(folder, name) for name in os.listdir(folder)
                      if name.endswith(PUBLIC_SUFFIX) and not name.startswith("."))


def add_to_folder(folder: str, name: str, content: bytes) -> str:
    """Put a public key into the folder, which is made if need be; gives the path."""
    with reporting(folder):
        make_private(folder)
    path = os.path.join(folder, name + PUBLIC_SUFFIX)
    write_key_file(path, content, secret=False)
    return path


def remove_file(path: str) -> None:
    """Remove one file. Raises MediumError."""
    with reporting(path):
        os.unlink(path)
