r"""Canonical strict JSON (spec chapter 11): one value has one encoding, and only that one is read.

`decode` looks at the bytes before it builds anything: size, depth, numbers. Then the typed decoder of msgspec runs,
and what it gave is encoded again and compared (E-3). That last step catches white space, duplicate or reordered
fields, other escapes and other spellings of a number all at once. Structs are given by the caller, are frozen and
forbid unknown fields. What is canonical by E-2 is what msgspec writes: `\b \t \n \f \r \" \\`, `\u00xx` in
lower-case hexadecimal for the other characters below U+0020, and every other character (also U+007F) as UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.names import shown

T = TypeVar("T")

# \Z, not $: a dollar also matches in front of a line feed at the end.
Int53 = Annotated[int, Meta(ge=0, le=limits.INTEGER_MAX)]
Hex16 = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
HexDigest = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64}|[0-9a-f]{96})\Z")]
DigestOrNone = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64}|[0-9a-f]{96})?\Z")]

_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {}
_MAKING: Final = threading.Lock()
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"')
_NUMBER_REFUSED: Final = re.compile(rb"[-+.]|[0-9][eE]|[0-9]{17}")
_NUMBER_LARGE: Final = re.compile(rb"[0-9]{16}")
_ONE_KIND_OF_BRACKET: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b'[]{}"'))


def decode(raw: bytes, kind: type[T], *, limit: int, rule: str) -> T:
    """The value of type `kind` that `raw` is the encoding of.

    Raises FormatError and nothing else: more than `limit` bytes (`rule`), E-1, E-2 (not UTF-8) or E-3; also what a
    struct's `__post_init__` raises as FormatError.
    """
    if len(raw) > limit:
        raise FormatError(f"a document has {len(raw)} bytes, at most {limit} are allowed", rule=rule)
    _check_text(raw)
    return decode_part(raw, kind)


def decode_part(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Like `decode`, for a msgspec.Raw in a value that it gave: size, depth and numbers were checked with the whole."""
    try:
        value = _decoder(kind).decode(raw)
        again = msgspec.json.encode(value)
    except UnicodeError:
        raise FormatError("a document is not UTF-8", rule="E-2") from None
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise FormatError(f"a document is not as it should be: {shown(str(error))[:200]}", rule="E-1") from None
    if again != bytes(raw):
        raise FormatError("a document is not in its canonical form", rule="E-3")
    return value


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a type, made once and by one thread: msgspec crashes where two make one for a class at a time."""
    found = _DECODERS.get(kind)
    if found is None:
        with _MAKING:
            found = _DECODERS.setdefault(kind, msgspec.json.Decoder(kind, strict=True))
    return found


def encode(value: object) -> bytes:
    """The one encoding of `value`. Raises FormatError for what E-1 and E-2 leave out: numbers, depth, surrogates."""
    try:
        raw = msgspec.json.encode(value)
    except UnicodeError:
        raise FormatError("a text is not Unicode text", rule="E-2") from None
    except RecursionError:
        raise FormatError("a document is nested too deep", rule="E-1") from None
    _check_text(raw)
    return raw


def to_base64(raw: bytes) -> str:
    """Base64 of RFC 4648 chapter 4, with padding."""
    return base64.b64encode(raw).decode()


def from_base64(text: str, *, rule: str) -> bytes:
    """The bytes that `text` is the base64 of. Raises FormatError (`rule`) if they would not encode to `text`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError("a field is not base64", rule=rule) from None
    if to_base64(raw) != text:  # bits behind the last byte
        raise FormatError("a field is not in the canonical form of base64", rule=rule)
    return raw


def _check_text(raw: bytes) -> None:
    """E-1 on the bytes alone, in time linear in their number: depth, and numbers from 0 to 2^53 - 1.

    Bytes that are no JSON may pass here; the decoder refuses them.
    """
    bare = _STRING.sub(b"", _ESCAPE.sub(b"", raw) if b"\\" in raw else raw)
    if _NUMBER_REFUSED.search(bare) or any(int(n) > limits.INTEGER_MAX for n in _NUMBER_LARGE.findall(bare)):
        raise FormatError("a number is not an integer from 0 to 2^53 - 1", rule="E-1")
    skeleton = bare.translate(None, _NOT_BRACKETS).translate(_ONE_KIND_OF_BRACKET)
    for _ in range(limits.JSON_DEPTH_MAX):
        skeleton = skeleton.replace(b"[]", b"")  # takes away the innermost level
    if skeleton:
        raise FormatError(f"a document is nested deeper than {limits.JSON_DEPTH_MAX}, or not closed", rule="E-1")
