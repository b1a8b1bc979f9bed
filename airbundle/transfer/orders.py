"""What passes between the machine that packs and the workers that share the work: orders and answers, as bytes.

An executor, and whatever lies between (schedulers, dashboards, logs), sees a letter: the version, a job's random
number, the job key sealed to each worker, and a sealed order. Names of files, digests and the bundle key are all in the
order, under the job key; so is what went wrong, in the answer. A letter that was changed, or is the answer to another
order, does not open.

- `Crew` (`crew.py`) sends an `Order`, `SealOrder` or `CombineOrder`, sealed in a `Letter`. `Terms` are what all orders
  of a job have in common.
- `run_unit` (`units.py`) gives a reply: `KeyWanted`, and then the same order comes again with the key, or `Answered`,
  in which an `Answer` is sealed: `Done`, or `Refused` with an error.

Only bytes and one function's name are ever pickled, so that another version is told from this one before anything of it
is understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import msgspec

from airbundle.codec.dtypes import Run
from airbundle.crypto.envelope import BundleKey, Context
from airbundle.crypto.sealed_log import open_entry, seal_entry
from airbundle.crypto.suites import suite_by_number
from airbundle.errors import FormatError
from airbundle.format.catalog import Row
from airbundle.format.names import shown
from airbundle.transfer.seal import SealPlan
from airbundle.version import VERSION

if TYPE_CHECKING:
    from airbundle.crypto.suites import Suite

_PURPOSE_ORDER: Final = "order"
_PURPOSE_ANSWER: Final = "answer"
_HEAD: Final = b"\0"


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """An order on its way; `keys`, where a worker wants it, is the job key sealed to each one, by `key_name`."""

    job: bytes
    suite: int
    serial: int
    keys: dict[bytes, bytes]
    sealed: bytes


class KeyWanted(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A worker that has no key of this job yet, and to what it can be sealed."""

    public: bytes


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A sealed answer."""

    sealed: bytes


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What is the same for all orders of a job: a `SealPlan` as bytes, and two things more. Travels sealed only.

    `room` is the size of a buffer that every segment fits into. `marker` is a file in each folder of the bundle, by
    which a worker knows that it sees the same one.
    """

    suite: int
    bundle: bytes
    packer: bytes
    key: bytes
    preamble: bytes
    block_size: int
    parity: float
    pad: bool
    room: int
    marker: str

    def __repr__(self) -> str:
        """Without the key."""
        return "Terms(...)"

    @classmethod
    def of(cls, plan: SealPlan, room: int, marker: str) -> Terms:
        """From a plan."""
        context = plan.context
        return cls(context.suite.number, context.bundle_id, context.packer_id, plan.key.secret_bytes(), plan.preamble,
                   plan.block_size, plan.parity, plan.pad, room, marker)

    def plan(self) -> SealPlan:
        """The plan. Raises FormatError."""
        return SealPlan(context=Context(suite_by_number(self.suite), self.bundle, self.packer), key=BundleKey(self.key),
                        preamble=self.preamble, block_size=self.block_size, parity=self.parity, pad=self.pad)


class FilePart(msgspec.Struct, frozen=True, array_like=True):
    """A file of the source: its path in the bundle, where its bytes are, and what it was when it was scanned."""

    path: str
    location: bytes
    size: int
    identity: bytes


class SealOrder(msgspec.Struct, frozen=True, array_like=True, tag="seal"):
    """Unit of work: make the segment of one slice, and write it into the folder `volume`, under a temporary name.

    `files` are those that the slice touches, the first begins at `base` of the source stream.
    """

    terms: Terms
    volume: bytes
    number: int
    start: int
    length: int
    base: int
    files: tuple[FilePart, ...]
    runs: tuple[Run, ...]


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A finished data segment: the folder that holds it, and its row."""

    volume: bytes
    row: Row


class ParityTarget(msgspec.Struct, frozen=True, array_like=True):
    """A parity segment to make: its folder and number, and a coefficient for each member (G-7)."""

    volume: bytes
    number: int
    coefficients: bytes


class CombineOrder(msgspec.Struct, frozen=True, array_like=True, tag="combine"):
    """Unit of work: read all data members of a group, and make its parity segments, or some of them."""

    terms: Terms
    members: tuple[Member, ...]
    targets: tuple[ParityTarget, ...]


Order: TypeAlias = SealOrder | CombineOrder


class Produced(msgspec.Struct, frozen=True, array_like=True):
    """What a worker says that it wrote; `content` is `H` over the digests of the chunks, empty for parity."""

    number: int
    salt: bytes
    body: int
    root: bytes
    content: bytes


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """An order was carried out on `host`; seconds by stage say where the time went."""

    host: str
    made: tuple[Produced, ...]
    stages: dict[str, float]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """What an error of a worker says; `code` is that of its class."""

    host: str
    code: str
    what: str
    where: str
    hint: str
    rule: str


Answer: TypeAlias = Done | Refused
Value = TypeVar("Value")


def write_letter(content: Letter | KeyWanted | Answered) -> bytes:
    """The bytes of a letter or of a reply to one, behind the version of who wrote it."""
    return write_version() + msgspec.msgpack.encode(content)


def write_version() -> bytes:
    """The version alone: what a process of this one says to a letter of another one."""
    return VERSION.encode() + _HEAD


def version_of(raw: bytes) -> str:
    """The version of who wrote a letter; printable, whatever the bytes are."""
    return shown(raw.partition(_HEAD)[0][:32].decode(errors="replace"))


def parse_letter(raw: bytes) -> Letter:
    """A letter of this version. Raises FormatError."""
    return _decoded(_LETTER, raw.partition(_HEAD)[2])


def parse_reply(raw: bytes) -> KeyWanted | Answered:
    """A reply of this version. Raises FormatError."""
    return _decoded(_REPLY, raw.partition(_HEAD)[2])


def seal_order(key: bytes, serial: int, order: Order, suite: Suite) -> bytes:
    """An order under the job key; `serial` is used once."""
    return seal_entry(key, serial, msgspec.msgpack.encode(order), _PURPOSE_ORDER, suite=suite)


def open_order(key: bytes, serial: int, sealed: bytes, suite: Suite) -> Order:
    """The inverse. Raises FormatError."""
    return _decoded(_ORDER, open_entry(key, serial, sealed, _PURPOSE_ORDER, suite=suite))


def seal_answer(key: bytes, serial: int, answer: Answer, suite: Suite) -> bytes:
    """An answer to the order `serial`."""
    return seal_entry(key, serial, msgspec.msgpack.encode(answer), _PURPOSE_ANSWER, suite=suite)


def open_answer(key: bytes, serial: int, sealed: bytes, suite: Suite) -> Answer:
    """The inverse. Raises FormatError for what is no answer to that order."""
    return _decoded(_ANSWER, open_entry(key, serial, sealed, _PURPOSE_ANSWER, suite=suite))


def _decoded(decoder: msgspec.msgpack.Decoder[Value], raw: bytes) -> Value:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise FormatError(f"a letter cannot be read: {error}") from None


_LETTER: Final = msgspec.msgpack.Decoder(Letter)
_REPLY: Final[msgspec.msgpack.Decoder[KeyWanted | Answered]] = msgspec.msgpack.Decoder(KeyWanted | Answered)
_ORDER: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(SealOrder | CombineOrder)
_ANSWER: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Done | Refused)
