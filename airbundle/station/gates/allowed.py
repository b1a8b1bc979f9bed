"""The names that a pickle of tensors may import, each with the one use that it may be put to."""

from __future__ import annotations

import enum
from typing import Final


class Use(enum.Enum):
    """What a name is there for."""

    DTYPE = enum.auto()
    STORAGE = enum.auto()
    KIND_OF_TENSOR = enum.auto()
    FACTORY = enum.auto()
    TABLE = enum.auto()
    DEFAULT_TABLE = enum.auto()
    MEMBERS = enum.auto()
    BYTES = enum.auto()
    ENCODE = enum.auto()
    COMPLEX = enum.auto()
    SIZE = enum.auto()
    PLAIN = enum.auto()
    PARAMETER = enum.auto()
    PARAMETER_WITH_STATE = enum.auto()
    TENSOR = enum.auto()
    TENSOR_V2 = enum.auto()
    TENSOR_V3 = enum.auto()
    META_TENSOR = enum.auto()
    TENSOR_OF_TYPE = enum.auto()
    MEMBER = enum.auto()
    DESCRIPTION = enum.auto()
    STORED = enum.auto()
    POLICY = enum.auto()


class AllowedName:
    """A name of the table; `width` is the bytes of an element of a storage."""

    __slots__ = ("name", "use", "width")

    def __init__(self, name: str, use: Use, width: int = 0) -> None:
        self.name = name
        self.use = use
        self.width = width


_STORAGES: Final = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}
DTYPES: Final = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex64", "complex128", "complex32", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
)
_DESCRIPTIONS: Final = ("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
                        "TensorProperties", "MetadataIndex", "StorageMeta")
_DCP: Final = "torch.distributed.checkpoint"
MEMORY_FORMAT: Final = f"{_DCP}.metadata._MEM_FORMAT_ENCODING"
MEMORY_FORMATS: Final = frozenset({"TORCH_CONTIGUOUS_FORMAT", "TORCH_CHANNELS_LAST", "TORCH_PRESERVE_FORMAT"})
"""An enumeration and its members: Python before 3.11.4 writes one as `getattr` of its class and name."""


def _table() -> dict[str, AllowedName]:
    uses = {f"torch.{name}": Use.DTYPE for name in DTYPES}
    uses |= {f"{_DCP}.metadata.{name}": Use.DESCRIPTION for name in _DESCRIPTIONS}
    for builtins in ("builtins", "__builtin__"):
        uses |= {f"{builtins}.{name}": Use.FACTORY for name in ("list", "dict", "int", "float", "str", "bool")}
        uses |= {f"{builtins}.bytes": Use.BYTES, f"{builtins}.set": Use.MEMBERS, f"{builtins}.frozenset": Use.MEMBERS,
                 f"{builtins}.bytearray": Use.BYTES, f"{builtins}.complex": Use.COMPLEX,
                 f"{builtins}.getattr": Use.MEMBER}
    uses |= {
        "collections.OrderedDict": Use.TABLE, "collections.Counter": Use.TABLE,
        "collections.defaultdict": Use.DEFAULT_TABLE, "_codecs.encode": Use.ENCODE,
        "torch.Size": Use.SIZE, "torch.device": Use.PLAIN, "torch.serialization._get_layout": Use.PLAIN,
        MEMORY_FORMAT: Use.PLAIN, f"{_DCP}.filesystem._StorageInfo": Use.STORED,
        "pathlib.PosixPath": Use.PLAIN, "pathlib._local.PosixPath": Use.PLAIN,
        "torch.Tensor": Use.KIND_OF_TENSOR, "torch.nn.parameter.Parameter": Use.KIND_OF_TENSOR,
        "torch.nn.parameter.Buffer": Use.KIND_OF_TENSOR,
        "torch._utils._rebuild_tensor": Use.TENSOR, "torch._utils._rebuild_tensor_v2": Use.TENSOR_V2,
        "torch._utils._rebuild_tensor_v3": Use.TENSOR_V3,
        "torch._utils._rebuild_meta_tensor_no_storage": Use.META_TENSOR,
        "torch._utils._rebuild_parameter": Use.PARAMETER,
        "torch._utils._rebuild_parameter_with_state": Use.PARAMETER_WITH_STATE,
        "torch._tensor._rebuild_from_type_v2": Use.TENSOR_OF_TYPE,
    }
    table = {name: AllowedName(name, use) for name, use in uses.items()}
    table |= {f"torch.{name}": AllowedName(name, Use.STORAGE, width) for name, width in _STORAGES.items()}
    table["torch.storage.UntypedStorage"] = AllowedName("UntypedStorage", Use.STORAGE, 1)
    return table


ALLOWED_GLOBALS: Final = _table()
"""Names that a checkpoint of tensors may import, as `module.name`."""
