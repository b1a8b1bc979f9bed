"""What torch writes: zip files, files of consecutive pickles, shards and `.metadata` of a distributed checkpoint.

Every pickle in them is walked under the list of `guards`, and every storage that it refers to has to be there in its
full size. A distributed checkpoint is loaded from the places that its `.metadata` names: a place in the midst of a
shard could be a payload among harmless numbers, so each has to be one of the archives that were examined.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airbundle.station.gates.archive import archives
from airbundle.station.gates.guards import TensorGuard
from airbundle.station.gates.machine import Made, PickleMachine
from airbundle.station.gates.opcodes import MalformedError, PickleStream
from airbundle.station.gates.result import Outcome, RefusalError
from airbundle.station.gates.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.station.gates.archive import Archive, ArchiveEntry
    from airbundle.station.gates.result import Content
    from airbundle.station.gates.rules import GateRules

    Beside = Callable[[str], Content | None]

MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_SMALL: Final = frozenset({"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"})
_SMALL_MAX: Final = 1024
_STORAGE: Final = re.compile(r"data/([0-9]{1,9})")
_PLACES_MAX: Final = 1_000_000


def check_torch_zip(window: Window, rules: GateRules, *, several: bool) -> str:
    """A file of `torch.save`, or with `several` a shard with many of them. Returns what was examined."""
    count = entries = 0
    guard = TensorGuard(rules.allow_globals)
    steps = rules.pickle_steps
    for archive in archives(window):
        count += 1
        entries += len(archive.entries)
        if count > 1 and not several:
            raise RefusalError("something lies in front of the archive")
        guard.storages.clear()
        steps -= _check_archive(window, archive, guard, steps)
    return f"torch, {count} archives with {entries} entries" if several else f"torch, {entries} entries"


def _check_archive(window: Window, archive: Archive, guard: TensorGuard, steps: int) -> int:
    """Returns how many opcodes were walked."""
    files = _torch_files(archive)
    pickled = files["data.pkl"]
    stream = PickleStream(window, pickled.offset, pickled.offset + pickled.size)
    machine = PickleMachine(stream, guard, steps=steps)
    machine.walk()
    if stream.left:
        raise RefusalError("something lies behind the pickle")
    storages = {f"data/{key}": length for key, length in guard.storages.items()}
    for name, length in storages.items():
        if name not in files or files[name].size != length:
            raise RefusalError(f"storage {ascii(name)[1:40]} is not there in the size that the pickle says")
    if unused := {name for name in files if name.startswith("data/")} - storages.keys():
        raise RefusalError(f"nothing refers to entry {min(unused)}")
    return machine.taken


def _torch_files(archive: Archive) -> dict[str, ArchiveEntry]:
    """The entries by their names in the one folder that torch makes; refused where there is any other."""
    if not any(entry.name.lower().endswith((".pkl", ".pickle")) for entry in archive.entries):
        raise RefusalError("a zip archive that no gate knows", Outcome.NOT_EXAMINED)
    folders = {entry.name.partition("/")[0] for entry in archive.entries}
    files = {entry.name.partition("/")[2]: entry for entry in archive.entries}
    if len(folders) != 1 or "data.pkl" not in files:
        raise RefusalError("a zip archive with pickled objects that is none of torch's")
    for name, entry in files.items():
        if name in _SMALL:
            if entry.size > _SMALL_MAX:
                raise RefusalError(f"entry {name} has {entry.size} bytes")
        elif name != "data.pkl" and not _STORAGE.fullmatch(name):
            code = "TorchScript, which is code: " if name.startswith(("code/", "constants.pkl")) else ""
            raise RefusalError(f"{code}entry {ascii(name)[1:100]} is none of a checkpoint of tensors")
    return files


def check_pickle(window: Window, rules: GateRules, *, path: str, beside: Beside | None) -> str:
    """A pickle as it is: torch's files before 1.6, the `.metadata` of a distributed checkpoint, others of plain values.

    `beside` gives the file at another path of the bundle.
    """
    _require_no_tar(window)
    stream = PickleStream(window, 0, window.size)
    guard = TensorGuard(rules.allow_globals)
    machine = PickleMachine(stream, guard, steps=rules.pickle_steps)
    if machine.walk() == MAGIC_NUMBER:
        return _check_legacy(window, stream, machine, guard)
    if stream.left:
        raise RefusalError(f"{stream.left} bytes lie behind the pickle")
    if guard.storages:
        raise RefusalError("a pickle refers to storages that are not there")
    if not guard.stored:
        return f"a pickle of {machine.taken} opcodes"
    return _check_places(guard.stored, path, beside)


def _require_no_tar(window: Window) -> None:
    """Torch takes a file for a tar archive before it takes it for a pickle."""
    head = window.read(0, min(512, window.size))
    if len(head) == 512:
        digits = head[148:156].strip(b" \0")
        if digits and not digits.strip(b"01234567") and int(digits, 8) == sum(head) - sum(head[148:156]) + 8 * 32:
            raise RefusalError("a pickle that is also a tar archive")
    if head[257:262] == b"ustar":
        raise RefusalError("a pickle that is also a tar archive")


def _check_legacy(window: Window, stream: PickleStream, machine: PickleMachine, guard: TensorGuard) -> str:
    """Protocol, machine, the object, the keys of its storages; then each storage: its elements, and their bytes."""
    if machine.walk() != _LEGACY_PROTOCOL or not isinstance(machine.walk(), dict):
        raise RefusalError("a torch file of an unknown protocol")
    machine.walk()
    keys: Any = machine.walk()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or guard.storages.keys() != set(keys):
        raise RefusalError("a torch file lists other storages than it refers to")
    position = stream.position
    for key in keys:
        length = guard.storages.pop(key, None)
        if length is None:
            raise RefusalError("a torch file lists a storage twice")
        elements = int.from_bytes(window.read(position, 8), "little")
        if elements * guard.widths[key] != length:
            raise RefusalError("a storage has another size than the pickle says")
        position += 8 + length
    if position != window.size:
        raise RefusalError(f"the storages end at {position}, the file at {window.size}")
    return f"torch before 1.6, {len(keys)} storages"


def _check_places(stored: list[Made], path: str, beside: Beside | None) -> str:
    """Each place of a distributed checkpoint is an archive of a shard that is here."""
    if beside is None:
        raise RefusalError("the shards of this checkpoint were not given", Outcome.NOT_EXAMINED)
    if len(stored) > _PLACES_MAX:
        raise RefusalError(f"more than {_PLACES_MAX} places")
    places: dict[str, set[tuple[int, int]]] = {}
    for made in stored:
        name, offset, length = (made.state.get(key) for key in ("relative_path", "offset", "length"))
        if type(name) is not str or type(offset) is not int or type(length) is not int:
            raise RefusalError("a place of the checkpoint has no file, offset and length")
        if made.state.get("transform_descriptors"):
            raise RefusalError("the checkpoint is compressed or encrypted in a way of its own", Outcome.NOT_EXAMINED)
        places.setdefault(name, set()).add((offset, length))
    folder = path.rpartition("/")[0]
    for name, wanted in places.items():
        shown = ascii(name)[1:100]
        if {"", ".", ".."} & set(name.split("/")) or "\\" in name:
            raise RefusalError(f"the checkpoint leads out of its folder to {shown}")
        content = beside(f"{folder}/{name}" if folder else name)
        if content is None:
            raise RefusalError(f"the checkpoint needs {shown}, which is not here")
        there = {(archive.begin, archive.end - archive.begin) for archive in archives(Window(content))}
        if wanted - there:
            raise RefusalError(f"the checkpoint reads {shown} at {min(wanted - there)[0]}, where no archive lies")
    return f"a distributed checkpoint, {len(stored)} places in {len(places)} shards"


def walk_hidden(window: Window, guard: Any, *, steps: int) -> None:
    """Walk a file that should be no pickle as one, and as another behind it, up to where every reader would stop."""
    machine = PickleMachine(PickleStream(window, 0, window.size), guard, steps=steps)
    try:
        while True:
            machine.walk()
            if guard.imported:
                guard.refuse()
    except MalformedError:
        return
