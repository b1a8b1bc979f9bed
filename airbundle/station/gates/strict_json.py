"""JSON as strangers write it, held to bounds before a value is built: bytes, depth, number of values, no key twice.

Two readers of a key that is there twice may take different ones; so it is refused. `NaN` and `Infinity` are let
through as Python writes them: logs of a training run have them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from airbundle.station.gates.result import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.station.gates.rules import GateRules
    from airbundle.station.gates.window import Window

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"')
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND_OF_BRACKET: Final = bytes.maketrans(b"{}", b"[]")

Pairs = list[tuple[str, Any]]


def parse_json(raw: bytes, *, depth: int, values: int, keep: Callable[[dict[str, Any]], object]) -> Any:
    """The value of a document, each object of it as what `keep` makes of it. Refused for everything else.

    Time is linear in the length, times `depth` for the brackets.
    """
    bare = _STRING.sub(b"", _ESCAPE.sub(b"", raw) if b"\\" in raw else raw)
    if sum(map(bare.count, (b",", b":", b"[", b"{"))) > values:
        raise RefusalError(f"the JSON has more than {values} values")
    skeleton = bare.translate(None, _NOT_BRACKETS).translate(_ONE_KIND_OF_BRACKET)
    for _ in range(depth):
        skeleton = skeleton.replace(b"[]", b"")  # takes away the innermost level
    if skeleton:
        raise RefusalError(f"the JSON is nested deeper than {depth}, or not closed")

    def once(pairs: Pairs) -> object:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise RefusalError("the JSON has a key twice in one object")
        return keep(found)

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except UnicodeDecodeError:
        raise RefusalError("the JSON is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise RefusalError(f"not JSON: {ascii(str(error))[1:-1][:200]}") from None


def check_json(window: Window, rules: GateRules, *, lines: bool) -> str:
    """A JSON file, or with `lines` one document a line. Returns what was examined."""
    if window.size > rules.json_bytes:
        raise RefusalError(f"JSON of {window.size} bytes, at most {rules.json_bytes} are allowed")
    raw = b"".join(window.pieces(0, window.size))
    documents = [line for line in raw.split(b"\n") if line.strip()] if lines else [raw]
    left = rules.json_values
    for document in documents:
        parse_json(document, depth=rules.json_depth, values=left, keep=lambda _: None)
        left -= 1 + document.count(b",") + document.count(b":")
    return f"JSON, {len(raw)} bytes"
