"""What a packer who lies does to a part of a bundle or its statement, as hooks for `tests/transfer/forge.py`."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec

from airbundle.codec.engines import best_engine
from airbundle.crypto.envelope import BundleKey, Context, parse_preamble, write_passphrase_preamble
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.signing import sign
from airbundle.format import encoding
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.preamble import write_preamble_bytes
from airbundle.format.segment import TRAILER, FileSpan
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.transfer import ending
from tests.transfer.forge import Lies
from tests.vectors.bases import COST, PASSPHRASE, forged, make_base, stream
from tests.vectors.people import person
from tests.vectors.volumes import FRAME, record_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

replace = msgspec.structs.replace


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One vector with a bundle of its own: `lies` for the forger; `record` changes a record's frame."""

    rule: str
    name: str
    comment: str
    lies: Lies = dataclasses.field(default_factory=Lies)
    base: str = "plain"
    files: dict[str, bytes] | None = None
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    record: Callable[[bytearray], None] | None = None

    def write(self, place: Path) -> None:
        """The whole bundle, of which only what differs from the base is kept."""
        forged(self.base, place, self.lies, self.files)
        if self.record is not None:
            (volume,) = (place / "1").iterdir()
            frame = bytearray((volume / "statement.rec").read_bytes()[:FRAME])
            self.record(frame)
            (volume / "statement.rec").write_bytes(record_of(bytes(frame)))


@dataclasses.dataclass(frozen=True)
class Turned(Hostile):
    """What `pack` makes of the base `drive`, but with the slices of its segments in the other order."""

    def write(self, place: Path) -> None:
        with mock.patch.object(ending, "write_manifest", lambda honest, files: encoding.encode(
                replace(honest, segments=honest.segments[::-1], files=tuple(files)))):
            make_base(self.base, place)


def manifest(**fields: Any) -> Lies:
    return Lies(manifest=lambda honest: replace(honest, **fields))


def statement(**fields: Any) -> Lies:
    return Lies(statement=lambda honest: replace(honest, **fields))


def payload(old: bytes, new: bytes, count: int = 1) -> Lies:
    def changed(raw: bytes) -> bytes:
        assert old in raw, (old, raw)
        return raw.replace(old, new, count)

    return Lies(payload=changed)


def table(old: bytes, new: bytes) -> Lies:
    def changed(raw: bytes) -> bytes:
        assert old in raw, (old, raw)
        return raw.replace(old, new, 1)

    return Lies(table=changed)


def rows(old: str, new: str) -> Lies:
    """Both rows, each from its k on: `k,m,T,B,body`."""
    def changed(raw: bytes) -> bytes:
        assert raw.count(old.encode()) == 2, (old, raw)
        return raw.replace(old.encode(), new.encode())

    return Lies(table=changed)


def row(**fields: Any) -> Lies:
    """The first chunk's row."""
    done: list[int] = []

    def changed(honest: Any) -> Any:
        done.append(1)
        return replace(honest, **fields) if len(done) == 1 else honest

    return Lies(row=changed)


def named(*paths: str) -> Lies:
    """Other names, in manifest and index alike."""
    def files(honest: Any) -> Any:
        return replace(honest, files=tuple(replace(one, path=path) for one, path in zip(honest.files, paths,
                                                                                     strict=True)))

    def spans(honest: Any) -> Any:
        return replace(honest, files=tuple(FileSpan(path, one.start, one.size)
                                           for one, path in zip(honest.files, paths, strict=True)))

    return Lies(manifest=files, index=spans)


def trailer(change: Callable[[list[Any]], None]) -> Lies:
    def changed(raw: bytes) -> bytes:
        fields = list(TRAILER.unpack(raw))
        change(fields)
        return TRAILER.pack(*fields)

    return Lies(trailer=changed)


def put(place: int, value: Any) -> Callable[[list[Any]], None]:
    def change(fields: list[Any]) -> None:
        fields[place] = value

    return change


def preamble(change: Callable[[Any], bytes]) -> Lies:
    return Lies(preamble=lambda raw: change(parse_preamble(raw)))


def envelopes(change: Callable[[Any], Any]) -> Lies:
    """Other envelopes in an else honest preamble; the manifest still names the recipient that it had."""
    return preamble(lambda honest: write_preamble_bytes(dataclasses.replace(honest, envelopes=change(honest))))


def locked(*, cost: bytes = b"", recipient: bytes = bytes(32), beside: bool = False) -> Lies:
    """Under the passphrase; with the bundle key and context that the forger draws."""
    draw = stream("plain")
    context = Context(person("packer-standard").suite, draw(16), person("packer-standard").public.key_id)
    key = BundleKey.generate(entropy=draw)

    def changed(raw: bytes) -> bytes:
        found = parse_preamble(write_passphrase_preamble(context, key, Passphrase(PASSPHRASE), cost=COST,
                                                         entropy=stream("locked")))
        (one,) = found.envelopes
        one = dataclasses.replace(one, sealed=cost + one.sealed[len(cost):], recipient=recipient)
        return write_preamble_bytes(dataclasses.replace(
            found, envelopes=(one, *parse_preamble(raw).envelopes) if beside else (one,)))

    return Lies(preamble=changed, manifest=lambda honest: replace(honest, recipients=()))


def frame(make: Callable[[bytes], bytes]) -> Lies:
    return Lies(chunk=lambda plain: ("zstd", make(plain)))


def planes(head: bytes, codec: str = "planes-2") -> Lies:
    """The first chunk as planes: `head` and then its bytes."""
    return Lies(chunk=lambda plain: (codec, head + plain))


def document(change: Callable[[dict[str, Any]], None]) -> Lies:
    """The envelope of the statement, changed after it was signed, still canonical."""
    def changed(raw: bytes) -> bytes:
        fields = json.loads(raw)
        change(fields)
        return json.dumps(fields, separators=(",", ":")).encode()

    return Lies(document=changed)


def signature(change: Callable[[bytearray], None]) -> Lies:
    def changed(fields: dict[str, Any]) -> None:
        raw = bytearray(base64.b64decode(fields["signatures"][0]["sig"]))
        change(raw)
        fields["signatures"][0]["sig"] = base64.b64encode(raw).decode()

    return document(changed)


def flip(at: int) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[at] ^= 1

    return change


def signers(*names: str, payload_type: str = STATEMENT_TYPE, spoil: tuple[str, ...] = ()) -> Lies:
    """Signed by these instead."""
    def changed(raw: bytes) -> bytes:
        found = parse_envelope(raw, STATEMENT_TYPE)
        made = []
        for name in names:
            one = sign(person(name), payload_type, found.payload)
            made.append(dataclasses.replace(one, value=one.value[::-1]) if name in spoil else one)
        return write_envelope(Envelope(payload_type, found.payload, tuple(made)))

    return Lies(document=changed)


def many(count: int, *, same: bool = False) -> Lies:
    """As many signatures; all but the first by nobody."""
    def changed(fields: dict[str, Any]) -> None:
        first = fields["signatures"][0]
        fields["signatures"] += [first if same else {"keyid": f"{at:064x}", "sig": "AAAA"} for at in range(1, count)]

    return document(changed)


def off() -> Any:
    """An engine whose parity is wrong in one byte."""
    class Off:
        name = "off"

        def combine(self, coefficients: Any, blocks: Any, sources: Any, targets: Any) -> None:
            best_engine().combine(coefficients, blocks, sources, targets)
            blocks[targets, 100] ^= 1

    return Off()


def as_json(value: Any, old: bytes, new: bytes) -> bytes:
    """Its JSON, with a part replaced."""
    raw = encoding.encode(value)
    assert old in raw, (old, raw)
    return raw.replace(old, new, 1)
