"""What a pickle may import and call: the list of a checkpoint of tensors, and nothing where there should be no pickle.

`TensorGuard` takes names from a table, each with the one use that torch and its distributed checkpoints make of it,
and looks at the arguments: a storage of 8 PB, a codec that expands, a setting of `__class__` are refused although
the name is allowed. What a policy adds by `allow_globals` is used as it likes. `HiddenGuard` refuses whatever imports.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airbundle.station.gates.allowed import (
    ALLOWED_GLOBALS,
    DTYPES,
    MEMORY_FORMAT,
    MEMORY_FORMATS,
    AllowedName,
    Use,
)
from airbundle.station.gates.machine import Made
from airbundle.station.gates.opcodes import MalformedError
from airbundle.station.gates.result import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NAME: Final = re.compile(r"\S{1,256}")
_LOCATION: Final = re.compile(r"[a-z]{1,16}(?::[0-9]{1,4})?")
_LATIN: Final = frozenset({"latin1", "latin-1", "iso-8859-1"})
_SIZE_MAX: Final = 1 << 60
_DIMENSIONS_MAX: Final = 64
_BYTES_MAX: Final = 64 << 20


class TensorGuard:
    """Lets through what the table says. `storages`, `widths` and `stored` are what the pickle refers to."""

    strict = True

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allowed = ALLOWED_GLOBALS | {name: AllowedName(name, Use.POLICY) for name in allow}
        self.storages: dict[str, int] = {}  # bytes, by key
        self.widths: dict[str, int] = {}  # of an element
        self.stored: list[Made] = []

    def find(self, module: str, name: str) -> AllowedName:
        """Only what is in the table, letter for letter."""
        found = self._allowed.get(f"{module}.{name}")
        # The name of a nested attribute has dots too; joined it must not look like another module.
        if found is None or "." in name:
            raise RefusalError(f"a pickle imports {ascii(module)[:80]} {ascii(name)[:80]}")
        return found

    def call(self, function: object, arguments: object) -> object:
        """Only the use that the table has for the name, with the arguments that it takes."""
        if not isinstance(function, AllowedName) or not isinstance(arguments, tuple):
            raise RefusalError("a pickle calls what is no allowed name")
        if function.use is Use.POLICY:
            return Made("policy", {})
        check = _CALLS.get(function.use)
        if check is None:
            raise RefusalError(f"a pickle calls {function.name}")
        value = check(self, arguments)
        if function.use is Use.STORED and isinstance(value, Made):
            self.stored.append(value)
        return value

    def build(self, target: object, state: object) -> None:
        """State of tables and descriptions: fields with names that are no machinery of Python."""
        if not isinstance(target, Made) or target.kind not in {"table", "description", "stored", "policy"}:
            raise RefusalError("a pickle sets the state of what has none")
        if target.kind == "description" and isinstance(state, tuple) and len(state) != 2:
            return  # five plain values of TensorProperties
        target.state |= _fields(state)

    def persistent(self, reference: object) -> Made:
        """A storage: type, key, place and number of elements."""
        if not isinstance(reference, tuple) or len(reference) not in {5, 6} or reference[0] != "storage":
            raise RefusalError("a pickle refers to what is no storage")
        kind, key, location, count = reference[1:5]
        view = reference[5] if len(reference) == 6 else None
        if not (isinstance(kind, AllowedName) and kind.use is Use.STORAGE and type(key) is str and _is_size(count)
                and type(location) is str and _LOCATION.fullmatch(location) and view is None):
            raise RefusalError("a pickle refers to a storage that is none of torch's")
        length = count * kind.width
        if self.storages.setdefault(key, length) != length:
            raise RefusalError(f"a pickle gives storage {ascii(key)[:40]} two sizes")
        self.widths[key] = kind.width
        return Made("storage", {"length": length, "width": kind.width})

    def is_table(self, target: object) -> bool:
        """Of what was made, only the tables of `collections`."""
        return isinstance(target, Made) and target.kind in {"table", "policy"}

    def is_key(self, made: Made) -> bool:
        """The index of a distributed checkpoint is a key, and plain values such as a device are."""
        return made.kind in {"description", "plain", "complex"}


class HiddenGuard:
    """For files that should be no pickle: refuses what imports.

    A text may begin with `c` or `i` and two words in two lines (`begins_with_name`). Then a name alone is not
    enough: the pickle has to do something with it, or to end.
    """

    strict = False

    def __init__(self, *, begins_with_name: bool = False) -> None:
        self._patient = begins_with_name
        self.imported = ""

    def find(self, module: str, name: str) -> object:
        """Nothing may be imported."""
        if not _NAME.fullmatch(module) or not _NAME.fullmatch(name):
            raise MalformedError("what would be imported is no name")
        self.imported = f"{module} {name}"
        if not self._patient:
            self.refuse()
        return Made("imported", {})

    def call(self, function: object, arguments: object) -> object:
        """Nothing may be called."""
        del arguments
        if self.imported or isinstance(function, Made):
            self.refuse()
        raise MalformedError("a call of what is no function")

    def build(self, target: object, state: object) -> None:
        """Nothing has a state; setting an empty one of a plain value is what readers pass over."""
        del state
        if self.imported or isinstance(target, Made):
            self.refuse()

    def persistent(self, reference: object) -> object:
        """What a reader makes of it is not known."""
        del reference
        return Made("outside", {})

    def is_table(self, target: object) -> bool:
        """Nothing is."""
        del target
        return False

    def is_key(self, made: Made) -> bool:
        """Anything may be."""
        del made
        return True

    def refuse(self) -> None:
        """Say what the file would import."""
        raise RefusalError(f"the file also reads as a pickle, which imports {ascii(self.imported)[:160]}")


# ---- arguments ----


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < _SIZE_MAX


def _are_sizes(values: object) -> bool:
    return isinstance(values, tuple) and len(values) <= _DIMENSIONS_MAX and all(map(_is_size, values))


def _require(holds: object, what: str) -> None:
    if not holds:
        raise RefusalError(f"a pickle calls {what} with arguments that it does not take")


def _fields(state: object) -> dict[str, Any]:
    """The fields of a state: a table, or a pair of tables; each name is a plain one."""
    tables = state if isinstance(state, tuple) else (state,)
    fields: dict[str, Any] = {}
    for table in tables:
        if isinstance(table, dict):
            fields |= table
        elif table is not None:
            raise RefusalError("a pickle sets a state that is no table")
    if any(name.startswith("__") for name in fields):
        raise RefusalError("a pickle sets a field of Python's own machinery")
    return fields


def _table_call(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    pairs = args[0] if args and isinstance(args[0], list) else []
    plain = all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str | int) for pair in pairs)
    _require(len(args) <= 1 and all(isinstance(arg, list | dict) for arg in args) and plain, "a table")
    return Made("table", dict(args[0]) if args and isinstance(args[0], dict) else dict.fromkeys(map(str, pairs[:1])))


def _default_table(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    factories = {Use.FACTORY, Use.TABLE, Use.MEMBERS}
    _require(len(args) <= 1 and all(arg is None or (isinstance(arg, AllowedName) and arg.use in factories)
                                    for arg in args), "defaultdict")
    return Made("table", {})


def _members(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    flat = all(isinstance(arg, list | tuple) and
               all(isinstance(value, str | bytes | int | float | None) for value in arg) for arg in args)
    _require(len(args) <= 1 and flat, "set")
    return Made("set", {})


def _member(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    kind = args[0] if len(args) == 2 else None
    _require(isinstance(kind, AllowedName) and kind.name == MEMORY_FORMAT and args[1] in MEMORY_FORMATS, "getattr")
    return Made("plain", {})


def _bytes_call(_: TensorGuard, args: tuple[Any, ...]) -> object:
    text = len(args) == 2 and isinstance(args[0], str) and args[1] in _LATIN
    _require(not args or (len(args) == 1 and isinstance(args[0], bytes)) or text, "bytearray")
    return b""


def _encode(_: TensorGuard, args: tuple[Any, ...]) -> object:
    _require(len(args) == 2 and isinstance(args[0], str) and args[1] in _LATIN, "_codecs.encode")
    return b""


def _complex(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) == 2 and all(isinstance(arg, float | int) for arg in args), "complex")
    return Made("complex", {})


def _size(_: TensorGuard, args: tuple[Any, ...]) -> object:
    sizes = tuple(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else None
    _require(_are_sizes(sizes), "torch.Size")
    return sizes


def _plain(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) <= _DIMENSIONS_MAX and all(isinstance(arg, str | int) for arg in args), "a plain value")
    return Made("plain", {})


def _empty(kind: str) -> Callable[[TensorGuard, tuple[Any, ...]], Made]:
    def made(_: TensorGuard, args: tuple[Any, ...]) -> Made:
        _require(not args, "a description")
        return Made(kind, {})

    return made


def _laid_out(args: tuple[Any, ...], *, width: int) -> Made:
    """A tensor over a storage: its last element lies inside."""
    storage, offset, size, stride = args[:4]
    fits = (isinstance(storage, Made) and storage.kind == "storage" and _is_size(offset) and _are_sizes(size)
            and _are_sizes(stride) and len(size) == len(stride))
    _require(fits, "a rebuild of a tensor")
    elements = storage.state["length"] // (width or storage.state["width"])
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if 0 not in size and last >= elements:
        raise RefusalError("a tensor reaches beyond its storage")
    return Made("tensor", {})


def _tensor(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) == 4, "_rebuild_tensor")
    return _laid_out(args, width=0)


def _no_hooks(hooks: object) -> bool:
    return hooks is None or (isinstance(hooks, Made) and hooks.kind == "table" and not hooks.state)


def _is_metadata(extra: tuple[Any, ...]) -> bool:
    return not extra or (len(extra) == 1 and (extra[0] is None or isinstance(extra[0], dict)))


def _tensor_v2(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) >= 6 and isinstance(args[4], bool) and _no_hooks(args[5]) and _is_metadata(args[6:]),
             "_rebuild_tensor_v2")
    return _laid_out(args, width=0)


def _tensor_v3(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) >= 7 and isinstance(args[4], bool) and _no_hooks(args[5]) and _is_metadata(args[7:])
             and isinstance(args[6], AllowedName) and args[6].use is Use.DTYPE, "_rebuild_tensor_v3")
    return _laid_out(args, width=_WIDTHS.get(args[6].name, 1))


_WIDTHS: Final = {f"torch.{name}": int(re.findall(r"\d+", name)[0]) // 8 for name in DTYPES
                  if not name.startswith(("float8", "float4", "bool", "bfloat"))} | {"torch.bfloat16": 2}


def _meta_tensor(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) == 4 and isinstance(args[0], AllowedName) and args[0].use is Use.DTYPE and _are_sizes(args[1])
             and _are_sizes(args[2]) and isinstance(args[3], bool), "_rebuild_meta_tensor_no_storage")
    return Made("tensor", {})


def _is_tensor(value: object) -> bool:
    return isinstance(value, Made) and value.kind == "tensor"


def _parameter(_: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) == 3 and _is_tensor(args[0]) and isinstance(args[1], bool) and _no_hooks(args[2]),
             "_rebuild_parameter")
    return Made("tensor", {})


def _parameter_with_state(guard: TensorGuard, args: tuple[Any, ...]) -> Made:
    _require(len(args) == 4, "_rebuild_parameter_with_state")
    _fields(args[3])
    return _parameter(guard, args[:3])


def _tensor_of_type(guard: TensorGuard, args: tuple[Any, ...]) -> object:
    """A tensor with attributes: how it is made, its type, with what, its state."""
    _require(len(args) == 4 and isinstance(args[0], AllowedName) and args[0].use in _REBUILDS
             and isinstance(args[1], AllowedName) and args[1].use is Use.KIND_OF_TENSOR, "_rebuild_from_type_v2")
    _fields(args[3])
    return guard.call(args[0], args[2])


_REBUILDS: Final = frozenset({Use.TENSOR, Use.TENSOR_V2, Use.TENSOR_V3, Use.META_TENSOR, Use.PARAMETER,
                              Use.PARAMETER_WITH_STATE})
_CALLS: Final[dict[Use, Callable[[TensorGuard, tuple[Any, ...]], object]]] = {
    Use.TABLE: _table_call, Use.DEFAULT_TABLE: _default_table, Use.MEMBERS: _members, Use.BYTES: _bytes_call,
    Use.ENCODE: _encode, Use.COMPLEX: _complex, Use.SIZE: _size, Use.PLAIN: _plain, Use.PARAMETER: _parameter,
    Use.PARAMETER_WITH_STATE: _parameter_with_state, Use.TENSOR: _tensor, Use.TENSOR_V2: _tensor_v2,
    Use.TENSOR_V3: _tensor_v3, Use.META_TENSOR: _meta_tensor, Use.TENSOR_OF_TYPE: _tensor_of_type,
    Use.MEMBER: _member, Use.DESCRIPTION: _empty("description"), Use.STORED: _empty("stored"),
}
