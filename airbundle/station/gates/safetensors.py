"""The structure of a safetensors file: a bounded header, and tensors that cover the rest without hole or overlap.

As in the reference reader, no byte behind the header belongs to nobody: what is hidden in a hole, or hung on at the
end, would make the file a second one of another format.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from airbundle.station.gates.result import RefusalError
from airbundle.station.gates.strict_json import parse_json

if TYPE_CHECKING:
    from airbundle.station.gates.rules import GateRules
    from airbundle.station.gates.window import Window

_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}
_TENSORS_MAX: Final = 524_288
_DIMENSIONS_MAX: Final = 64


def check_safetensors(window: Window, rules: GateRules) -> str:
    """Refuse what is no well-formed safetensors file. Returns what was examined."""
    if window.size < 10:
        raise RefusalError("too short for a safetensors header")
    length = int.from_bytes(window.read(0, 8), "little")
    if length > rules.header_bytes:
        raise RefusalError(f"a header of {length} bytes, at most {rules.header_bytes} are allowed")
    raw = window.read(8, length)
    if raw[:1] != b"{":
        raise RefusalError("the header does not begin with {")
    header = parse_json(raw.rstrip(b" "), depth=4, values=_TENSORS_MAX * 8, keep=lambda found: found)
    if len(header) > _TENSORS_MAX:
        raise RefusalError(f"more than {_TENSORS_MAX} tensors")
    _check_metadata(header.pop("__metadata__", {}))
    spans = sorted(_span(name, tensor) for name, tensor in header.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise RefusalError(f"{'a hole' if begin > position else 'an overlap'} in front of tensor {name}")
        position = end
    if 8 + length + position != window.size:
        raise RefusalError(f"the tensors end at {8 + length + position}, the file at {window.size}")
    return f"safetensors, {len(spans)} tensors"


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise RefusalError("__metadata__ is not a table of texts")


def _span(key: str, tensor: Any) -> tuple[int, int, str]:
    """Begin, end and shown name of a tensor, whose size has to be that of its type and shape."""
    name = ascii(key)[:100]
    if not isinstance(tensor, dict) or tensor.keys() != {"dtype", "shape", "data_offsets"}:
        raise RefusalError(f"tensor {name} has not just dtype, shape and data_offsets")
    dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise RefusalError(f"tensor {name} has the unknown dtype {ascii(dtype)[:40]}")
    if not _sizes(shape) or len(shape) > _DIMENSIONS_MAX or not _sizes(offsets) or len(offsets) != 2:
        raise RefusalError(f"tensor {name} has no proper shape and offsets")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise RefusalError(f"tensor {name} has {end - begin} bytes, which is not the size of its shape and dtype")
    return begin, end, name


def _sizes(value: Any) -> bool:
    """Whether it is a list of whole numbers from 0 to 2^63 - 1."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)
