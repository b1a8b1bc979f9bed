"""The two units of work, as a worker carries them out: seal a slice, combine the members of a group.

`run_unit` is all that an executor calls, in whatever process and on whatever machine: bytes in, bytes out
(`orders.py`). The worker reads the source itself, draws the salt itself, writes under a temporary name that has the
salt in it, and says what it wrote. It renames nothing and removes nothing. What it says is checked by whoever packs,
before a segment gets its name (`apart.py`).
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.crypto.handover import Receiver, key_name
from airbundle.crypto.suites import Suite, suite_by_number
from airbundle.errors import AirbundleError, MediumError, UsageError
from airbundle.format import limits
from airbundle.format.geometry import Placement
from airbundle.format.names import SafePath, shown
from airbundle.media import volume as volumes
from airbundle.media.faults import medium_error
from airbundle.media.reading import SourceReader
from airbundle.media.source import Source, seen_from_here
from airbundle.media.source_files import SourceFile, SourceFiles
from airbundle.media.writing import VolumeWriter
from airbundle.transfer import orders
from airbundle.transfer.check import check_segment
from airbundle.transfer.image import Image, finish
from airbundle.transfer.job import expected_segment
from airbundle.transfer.orders import Answer, CombineOrder, Done, Order, Produced, Refused, SealOrder
from airbundle.transfer.seal import seal_slice, shape
from airbundle.transfer.slices import Slice, Stream
from airbundle.transfer.workspace import Workspace
from airbundle.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.transfer.orders import Member
    from airbundle.transfer.seal import SealPlan

_READ_PIECE: Final = 8 * limits.MIB
_JOBS_KEPT: Final = 4


class _Desk:
    """What a process keeps for one job: its keys, buffers that are free, and the folders that it has seen."""

    def __init__(self, suite: Suite, job: bytes) -> None:
        self.receiver = Receiver(suite, job)
        self.name = key_name(suite, self.receiver.public)
        self.key: bytes | None = None
        self.seen: set[bytes] = set()
        self._free: list[Workspace] = []
        self._lock = threading.Lock()

    def key_of(self, keys: dict[bytes, bytes]) -> bytes | None:
        """The job key, if it was ever sealed to this process. Raises NoKeyError."""
        if self.key is None and self.name in keys:
            self.key = self.receiver.open(keys[self.name])
        return self.key

    @contextmanager
    def borrow(self, room: int) -> Iterator[Workspace]:
        """Buffers for one segment; `room` is the same in all orders of a job."""
        with self._lock:
            space = self._free.pop() if self._free else None
        space = space or Workspace(room)
        try:
            yield space
        finally:
            space.image = None
            with self._lock:
                self._free.append(space)


class _Desks:
    """Those of this process, the last few jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._desks: OrderedDict[bytes, _Desk] = OrderedDict()

    def of(self, suite: Suite, job: bytes) -> _Desk:
        with self._lock:
            if job not in self._desks:
                self._desks[job] = _Desk(suite, job)
            self._desks.move_to_end(job)
            while len(self._desks) > _JOBS_KEPT:
                self._desks.popitem(last=False)
            return self._desks[job]

    def forget(self, job: bytes | None = None) -> None:
        with self._lock:
            if job is None:
                self._desks.clear()
            else:
                self._desks.pop(job, None)

    def after_fork(self) -> None:
        """Keys of its own for a process that was forked: two with the same would be one to whoever packs.

        The lock too: a thread that had it is not in the child.
        """
        self._lock = threading.Lock()
        self._desks = OrderedDict()


_desks: Final = _Desks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_desks.after_fork)


def forget_jobs(job: bytes | None = None) -> None:
    """Let go of keys and buffers of this process, for one job or all. One that is still under way asks again."""
    _desks.forget(job)


def run_unit(raw: bytes) -> bytes:
    """Carry out the order in a letter. Gives the answer, sealed, or asks for the key of the job.

    A letter of another version is not even opened: the reply then is this one. Raises FormatError and NoKeyError for a
    letter that was changed on its way; whatever else goes wrong is in the answer.
    """
    if orders.version_of(raw) != VERSION:
        return orders.write_version()
    letter = orders.parse_letter(raw)
    suite = suite_by_number(letter.suite)
    desk = _desks.of(suite, letter.job)
    key = desk.key_of(letter.keys)
    if key is None:
        return orders.write_letter(orders.KeyWanted(desk.receiver.public))
    answer = _carried_out(desk, orders.open_order(key, letter.serial, letter.sealed, suite))
    return orders.write_letter(orders.Answered(orders.seal_answer(key, letter.serial, answer, suite)))


def _carried_out(desk: _Desk, order: Order) -> Answer:
    """Whatever happens is sealed: a name that stands in an error is as secret as one in an order."""
    host = platform.node()
    try:
        with desk.borrow(order.terms.room) as space:
            before = space.stages.seconds()
            made = _seal(desk, space, order) if isinstance(order, SealOrder) else _combine(desk, space, order)
            spent = {stage: seconds - before.get(stage, 0.0) for stage, seconds in space.stages.seconds().items()}
            return Done(host, made, spent)
    except AirbundleError as error:
        return _refused(host, error)
    except OSError as error:
        return _refused(host, medium_error(error, str(error.filename or "")))
    except MemoryError:
        return _refused(host, MediumError("out of memory", hint="give each worker fewer threads"))
    except Exception as error:  # noqa: BLE001 - told to whoever packs, sealed
        return _refused(host, AirbundleError(f"a bug: {type(error).__name__}: {error}"))


def _refused(host: str, error: AirbundleError) -> Refused:
    """An error as an answer; what is a kind of `str` becomes one."""
    return Refused(host, *map(str, (error.code, error.what, error.where, error.hint, error.rule)))


def _seal(desk: _Desk, space: Workspace, order: SealOrder) -> tuple[Produced, ...]:
    plan = order.terms.plan()
    with _opened(desk, space, order.volume, order.terms.marker) as volume:
        stream, part = _stream_of(order)
        content = space.slice(part.length)
        with SourceReader(stream.source) as reader:
            for at in range(0, part.length, _READ_PIECE):
                with space.stages("read"):
                    reader.read(part.start - order.base + at, content[at:at + _READ_PIECE])
        sealed = seal_slice(space, plan, stream, part, content, entropy=secrets.token_bytes)
        _write(volume, order.number, sealed.geometry.salt, sealed.image)
    return (Produced(order.number, sealed.geometry.salt, sealed.geometry.body, sealed.root, sealed.content),)


def _stream_of(order: SealOrder) -> tuple[Stream, Slice]:
    """The source stream, as far as one slice needs it."""
    files = SourceFiles.of([seen_from_here(SourceFile(SafePath.parse(file.path), os.fsdecode(file.location), file.size,
                                                      file.identity)) for file in order.files])
    starts = tuple(order.base + start for start in files.starts)
    part = Slice(order.number, order.start, order.length, 0, len(files) - 1)
    return Stream.of(Source("", files, ()), starts, order.runs, (part,)), part


def _combine(desk: _Desk, space: Workspace, order: CombineOrder) -> tuple[Produced, ...]:
    plan, terms = order.terms.plan(), order.terms
    body = max(member.row.body for member in order.members)
    made = []
    with ExitStack() as stack:
        grown = [_grown(stack.enter_context(desk.borrow(terms.room)), plan, target.number, body)
                 for target in order.targets]
        areas = [image.coded[:image.place.geometry.data_blocks].reshape(-1) for image in grown]
        columns = np.array([list(target.coefficients) for target in order.targets], np.uint8).T
        for member, column in zip(order.members, columns, strict=True):
            data = _member(desk, space, plan, member, terms.marker)
            with space.stages("parity"):
                space.engine.accumulate(np.ascontiguousarray(column), data, areas)
        for target, image in zip(order.targets, grown, strict=True):
            salt = image.place.geometry.salt
            root = finish(image, plan.context.suite, space.engine, plan.preamble, stages=space.stages)
            with _opened(desk, space, target.volume, terms.marker) as volume:
                _write(volume, target.number, salt, image)
            made.append(Produced(target.number, salt, body, root, b""))
    return tuple(made)


def _grown(space: Workspace, plan: SealPlan, number: int, body: int) -> Image:
    """A parity segment to which no member was added yet."""
    place = Placement(shape(plan, number, secrets.token_bytes(16), body), len(plan.preamble))  # G-8
    image = Image(place, space.blocks(place.block_count, plan.block_size))
    image.blocks[:] = 0
    return image


def _member(desk: _Desk, space: Workspace, plan: SealPlan, member: Member, marker: str) -> np.ndarray:
    """The data blocks of a finished segment, end to end, past the page cache and checked. Raises MediumError."""
    name = volumes.segment_name(member.row.number)
    with _opened(desk, space, member.volume, marker) as volume:
        try:
            with volume.opened(name) as descriptor:
                findings, image = check_segment(space, descriptor, expected_segment(plan, member.row))
        except FileNotFoundError:
            raise MediumError("is gone", where=shown(os.path.join(volume.path, name))) from None
        if not findings.clean:
            raise volume.differs(name, "does not hold any more what was written to it")
    return image.coded[:image.place.geometry.data_blocks].reshape(-1)


def _write(volume: VolumeWriter, number: int, salt: bytes, image: Image) -> None:
    volume.write(volumes.segment_name(number), [image.blocks.reshape(-1).data], suffix=salt.hex())


@contextmanager
def _opened(desk: _Desk, space: Workspace, folder: bytes, marker: str) -> Iterator[VolumeWriter]:
    """A folder of the bundle, which has to be the very one that the other side sees. Raises UsageError, MediumError."""
    path = os.fsdecode(folder)
    hint = "give -o a folder of a file system that all workers share, under the same path"
    if folder not in desk.seen and not os.path.isdir(path):
        raise UsageError("this folder is not on the worker", where=shown(path), hint=hint)
    with VolumeWriter(path, bundle_id=None, stages=space.stages) as volume:
        if folder not in desk.seen:
            try:
                with volume.opened(marker):
                    desk.seen.add(folder)
            except FileNotFoundError:
                raise UsageError("this folder is another one on the worker", where=shown(path), hint=hint) from None
        yield volume
