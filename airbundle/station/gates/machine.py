"""An abstract pickle machine: walks the opcodes with a stack of its own, imports nothing and calls nothing.

What the pickle would import, call or set is put to a `Guard`, which names what it makes or refuses. So the machine
finds a payload wherever a reader would run it, whatever comes behind it. Plain values are kept as Python's own; of
a table only the entries under a text are kept, because other keys could be chosen to collide.
Every step is counted, and a place in the memo cannot be higher than the steps so far.
"""

# ruff: noqa: SLF001 - the table of opcodes at the end is a part of the machine

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from airbundle.station.gates.opcodes import MalformedError, PickleStream
from airbundle.station.gates.result import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOL_MAX: Final = 5
PICKLE_MAX: Final = 128 << 20
"""Bytes of all pickles of one file; the texts among them are kept while it is walked."""
_ATOMS: Final = (str, bytes, int, float, type(None))


class Made:
    """What a pickle would have made: its kind, and what was put into it under texts."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: str, state: dict[str, Any]) -> None:
        self.kind = kind
        self.state = state


class Guard(Protocol):
    """Says for each deed of a pickle what comes of it, or refuses it with RefusalError.

    `strict` also refuses a memo with gaps.
    """

    strict: bool

    def find(self, module: str, name: str) -> object:
        """Import a name."""

    def call(self, function: object, arguments: object) -> object:
        """Call something, or make an object of it."""

    def build(self, target: object, state: object) -> None:
        """Set the state of an object."""

    def persistent(self, reference: object) -> object:
        """Something outside of the pickle."""

    def is_table(self, target: object) -> bool:
        """Whether entries may be put into what was made."""

    def is_key(self, made: Made) -> bool:
        """Whether what was made may be a key."""


class PickleMachine:
    """Walks pickles of one stream. `steps` is how many opcodes it takes altogether."""

    def __init__(self, stream: PickleStream, guard: Guard, *, steps: int) -> None:
        self._stream = stream
        self._guard = guard
        self._steps_left = steps
        self.taken = 0
        self._start = stream.position
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def walk(self) -> object:
        """The value of the next pickle. Raises MalformedError, or RefusalError for what the guard refuses."""
        self._stack, self._marked, self._memo = [], [], {}
        byte = self._stream.byte
        end = self._start + PICKLE_MAX
        while True:
            code = byte()
            if self.taken >= self._steps_left:
                raise RefusalError(f"a pickle of more than {self.taken} opcodes")
            self.taken += 1
            if self._stream.position > end:
                raise RefusalError(f"a pickle of more than {PICKLE_MAX} bytes")
            if code == 0x2E:  # STOP
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise MalformedError(f"0x{code:02x} is no opcode")
            step(self)

    # ---- the stack ----

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise MalformedError("the stack is empty")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise MalformedError("the stack is empty")
        return self._stack[-1]

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        if not self._marked:
            raise MalformedError("there is no mark")
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _drop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    # ---- the memo ----

    def _put(self, place: int) -> None:
        # Readers make their memo as long as the highest place.
        if self._guard.strict and not 0 <= place <= self.taken:
            raise RefusalError(f"a pickle puts a value at place {place} of its memo after {self.taken} opcodes")
        self._memo[place] = self._top()

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise MalformedError("nothing is at that place of the memo")
        self._push(self._memo[place])

    # ---- containers ----

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise RefusalError("a pickle appends to what is no list")
        target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        table = target if isinstance(target, dict) else None
        if table is None and isinstance(target, Made) and self._guard.is_table(target):
            table = target.state
        if table is None:
            raise RefusalError("a pickle sets an item of what is no table")
        if len(values) % 2:
            raise MalformedError("a key has no value")
        for at in range(0, len(values), 2):
            key = values[at]
            if type(key) is str:
                table[key] = values[at + 1]
            else:
                self._require_key(key)

    def _table_of(self, values: list[Any]) -> None:
        self._push({})
        self._set_items(values)

    def _add_items(self, values: list[Any]) -> None:
        if not isinstance(self._top(), Made) or self._top().kind != "set":
            raise RefusalError("a pickle adds to what is no set")
        self._require_members(values)

    def _frozen(self, values: list[Any]) -> None:
        self._require_members(values)
        self._push(Made("frozenset", {}))

    def _require_members(self, values: list[Any]) -> None:
        for value in values:
            self._require_key(value)

    def _require_key(self, key: object) -> None:
        """Keys are plain, flat, or made of allowed classes: hashing what is nested takes a reader for ever."""
        plain = isinstance(key, _ATOMS) or (isinstance(key, tuple) and all(isinstance(k, _ATOMS) for k in key))
        if not plain and not (isinstance(key, Made) and self._guard.is_key(key)):
            raise RefusalError("a pickle has a key that is neither plain nor flat")

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise MalformedError("the stack is too short")
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push(values)

    # ---- deeds ----

    def _global(self) -> None:
        try:
            module, name = self._stream.line().decode("utf-8"), self._stream.line().decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedError("a name is not UTF-8") from None
        self._push(self._guard.find(module, name))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise MalformedError("a name is no text")
        self._push(self._guard.find(module, name))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self._guard.call(function, arguments))

    def _new(self) -> None:
        arguments, made = self._pop(), self._pop()
        self._push(self._guard.call(made, arguments))

    def _new_ex(self) -> None:
        keywords, arguments, made = self._pop(), self._pop(), self._pop()
        if self._guard.strict and keywords != {}:
            raise RefusalError("a pickle makes an object with keywords")
        self._push(self._guard.call(made, arguments))

    def _instance(self) -> None:
        self._global()  # before the mark is looked for, as one of Python's two readers does
        made = self._pop()
        values = self._to_mark()
        self._push(self._guard.call(made, tuple(values)))

    def _object(self) -> None:
        values = self._to_mark()
        if not values:
            raise MalformedError("nothing to make an object of")
        self._push(self._guard.call(values[0], tuple(values[1:])))

    def _build(self) -> None:
        state = self._pop()
        self._guard.build(self._top(), state)

    def _persistent(self) -> None:
        self._push(self._guard.persistent(self._pop()))

    def _persistent_line(self) -> None:
        raise MalformedError("a reference in a line is none that any reader of checkpoints follows")

    def _unknown_outside(self) -> None:
        raise MalformedError("a pickle needs an extension or a buffer that no reader has")

    def _protocol(self) -> None:
        if self._stream.byte() > PROTOCOL_MAX:
            raise MalformedError("a protocol that nobody knows")


def _steps() -> dict[int, Callable[[PickleMachine], None]]:
    """What each opcode does (pickletools has the table)."""
    m = PickleMachine
    s = PickleStream

    def push(read: Callable[[PickleStream], object]) -> Callable[[PickleMachine], None]:
        return lambda machine: machine._push(read(machine._stream))

    def constant(*, value: object) -> Callable[[PickleMachine], None]:
        return lambda machine: machine._push(value)

    return {
        ord("("): m._mark, ord("0"): m._drop, ord("1"): lambda x: x._to_mark() and None,
        ord("2"): lambda x: x._push(x._top()),
        ord("N"): constant(value=None), 0x88: constant(value=True), 0x89: constant(value=False),
        ord("I"): push(s.whole_number), ord("L"): push(s.whole_number), ord("F"): push(s.float_line),
        ord("J"): push(lambda x: x.signed(4)), ord("K"): push(s.byte), ord("M"): push(lambda x: x.number(2)),
        0x8A: push(lambda x: x.big(x.byte())), 0x8B: push(lambda x: x.big(x.number(4))), ord("G"): push(s.double),
        ord("S"): push(s.quoted), ord("T"): push(lambda x: x.old_text(x.number(4))),
        ord("U"): push(lambda x: x.old_text(x.byte())), ord("V"): push(s.raw_unicode),
        ord("X"): push(lambda x: x.text(x.number(4))), 0x8C: push(lambda x: x.text(x.byte())),
        0x8D: push(lambda x: x.text(x.number(8))),
        ord("B"): push(lambda x: x.take(x.number(4))), ord("C"): push(lambda x: x.take(x.byte())),
        0x8E: push(lambda x: x.take(x.number(8))), 0x96: push(lambda x: x.take(x.number(8))),
        ord(")"): constant(value=()), ord("t"): lambda x: x._push(tuple(x._to_mark())),
        0x85: lambda x: x._tuple_of(1), 0x86: lambda x: x._tuple_of(2), 0x87: lambda x: x._tuple_of(3),
        ord("]"): lambda x: x._push([]), ord("l"): lambda x: x._push(x._to_mark()),
        ord("a"): lambda x: x._extend([x._pop()]), ord("e"): lambda x: x._extend(x._to_mark()),
        ord("}"): lambda x: x._push({}), ord("d"): lambda x: x._table_of(x._to_mark()),
        ord("s"): lambda x: x._set_items([x._pop(), x._pop()][::-1]), ord("u"): lambda x: x._set_items(x._to_mark()),
        0x8F: lambda x: x._push(Made("set", {})), 0x90: lambda x: x._add_items(x._to_mark()),
        0x91: lambda x: x._frozen(x._to_mark()),
        ord("p"): lambda x: x._put(x._stream.place()), ord("q"): lambda x: x._put(x._stream.byte()),
        ord("r"): lambda x: x._put(x._stream.number(4)), 0x94: lambda x: x._put(len(x._memo)),
        ord("g"): lambda x: x._get(x._stream.place()), ord("h"): lambda x: x._get(x._stream.byte()),
        ord("j"): lambda x: x._get(x._stream.number(4)),
        ord("c"): m._global, 0x93: m._stack_global, ord("R"): m._reduce, 0x81: m._new, 0x92: m._new_ex,
        ord("i"): m._instance, ord("o"): m._object, ord("b"): m._build,
        ord("Q"): m._persistent, ord("P"): m._persistent_line,
        0x82: m._unknown_outside, 0x83: m._unknown_outside, 0x84: m._unknown_outside, 0x97: m._unknown_outside,
        0x80: m._protocol, 0x95: lambda x: x._stream.skip_frame(),
        0x98: lambda x: x._top() and None,
    }


_STEPS: Final = _steps()
