"""What the tests of the station share: people with keys, a policy, bundles for the station, and what came of them."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api, station_api
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError
from airbundle.station.audit import AuditLine
from airbundle.station.intake import ImportResult
from airbundle.station.policy import LoadedPolicy, load_policy
from airbundle.station.policy_text import write_policy
from airbundle.station.receipts import Receipt
from airbundle.transfer.ending import Declared
from airbundle.transfer.plan import Options
from tests.transfer.workshop import KIB, PACE, noise, write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from airbundle.crypto.identities import PrivateIdentity

DAY = 86_400


@dataclass(frozen=True)
class People:
    """Two packers, a releaser, an administrator, the station, and a stranger."""

    alice: PrivateIdentity
    bob: PrivateIdentity
    rita: PrivateIdentity
    admin: PrivateIdentity
    station: PrivateIdentity
    mallory: PrivateIdentity

    def trust(self) -> TrustSet:
        return TrustSet(NamedIdentity(name, getattr(self, name).public) for name in ("alice", "bob", "rita"))


@dataclass
class Desk:
    """A station in a folder, and a low side in another."""

    people: People
    place: Path

    def __post_init__(self) -> None:
        self.high = self.place / "high"
        keys = self.high / "keys"
        keys.mkdir(parents=True)
        for name in ("alice", "bob", "rita", "admin", "station", "mallory"):
            (keys / f"{name}.pub").write_bytes(write_public(name, getattr(self.people, name).public))
        (self.high / "station.key").write_bytes(write_private("station", self.people.station, passphrase=None))
        self.file = self.high / "policy.toml"
        self.file.write_text(write_policy(stem="policy", name="station", key="station.key", keys=[
            ("keys/alice.pub", ["packer"]), ("keys/bob.pub", ["packer"]), ("keys/rita.pub", ["releaser"]),
            ("keys/admin.pub", ["administrator"])]))

    def rule(self, text: str) -> None:
        """One more drop-in."""
        folder = self.high / "policy.d"
        folder.mkdir(exist_ok=True)
        (folder / f"{len(list(folder.iterdir())):02d}.toml").write_text(text)

    def policy(self, *tighter: tuple[str, str]) -> LoadedPolicy:
        return load_policy(str(self.file), tighter)

    def pack(self, name: str = "one", *, by: PrivateIdentity | None = None, released: bool = True, drives: int = 1,
             files: Mapping[str, bytes] | None = None, source: Path | None = None,
             sequence: int | None = None, series: str | None = "llama",
             meta: Sequence[tuple[str, str]] = (), segment_size: int = 64 * KIB, label: str = "model",
             **declared: Any) -> list[str]:
        """A bundle on drives of its own; its volumes."""
        source = source or write_tree(self.place / name / "source", model(len(name)) if files is None else files)
        targets = [self.place / name / f"drive-{number}" for number in range(drives)]
        for target in targets:
            target.mkdir(parents=True)
        result = api.pack(str(source), [str(target) for target in targets], sign=by or self.people.alice,
                          to=[self.people.station.public], pace=PACE, options=Options(segment_size=segment_size),
                          declared=Declared(label=label, series=series if sequence is not None else None,
                                            sequence=sequence, meta=tuple(meta), **declared))
        if released:
            self.release(result.volumes)
        return list(result.volumes)

    def release(self, volumes: Sequence[str], by: PrivateIdentity | None = None) -> None:
        api.sign(volumes, sign=by or self.people.rita, trust=self.people.trust(), pace=PACE)

    def take(self, volumes: Sequence[str], *tighter: tuple[str, str], waivers: Sequence[str] = (),
             **more: Any) -> ImportResult:
        return station_api.intake(volumes, policy=self.policy(*tighter), waivers=waivers, pace=PACE, **more)

    def refused(self, code: str, status: int, volumes: Sequence[str], **more: Any) -> AirbundleError:
        """The import ends with this code and status; the receipt says so and is signed; nothing was published."""
        before = self.published()
        with pytest.raises(AirbundleError) as caught:
            self.take(volumes, **more)
        error: Any = caught.value
        assert (error.code, error.exit_status) == (code, status), repr(error)
        assert self.published() == before
        receipt = self.receipt(error.report)
        assert (receipt.code, receipt.exit, receipt.target) == (code, status, "")
        assert receipt.what == str(error)
        assert receipt.state == error.report.state != "published"
        assert self.audit()[-1].code == code
        return caught.value

    def receipt(self, result: ImportResult) -> Receipt:
        """The receipt, believed, with its page beside it."""
        trust = TrustSet([NamedIdentity("station", self.people.station.public)])
        receipt, _ = station_api.read_receipt(result.receipt, trust=trust)
        with open(result.receipt.replace(".receipt.json", ".receipt.txt"), encoding="utf-8") as page:
            assert receipt.state.upper() in page.readline()
        return receipt

    def audit(self) -> list[AuditLine]:
        faults, _ = station_api.check_audit(str(self.high / "state"))
        assert not faults
        return [line for _, line, _ in station_api.audit_log(str(self.high / "state")).lines()]

    def published(self) -> dict[str, str]:
        """Every file that somebody who looks at the models would see, and where links point to."""
        found = {}
        for place, inner, files in os.walk(self.high / "models"):
            inner[:] = [name for name in inner if name != ".airbundle-staging"]
            for name in [*files, *inner]:
                path = os.path.join(place, name)
                found[os.path.relpath(path, self.high)] = os.readlink(path) if os.path.islink(path) else ""
        return found


def model(seed: int = 0) -> dict[str, bytes]:
    """An ordinary small repository."""
    return {"model.safetensors": safetensors({"weight": noise(150 * KIB, seed)}), "config.json": b'{"a": 1}\n',
            "README.md": b"# A model\n"}


def safetensors(tensors: Mapping[str, bytes]) -> bytes:
    """A file with these tensors of bytes."""
    at, header = 0, {}
    for name, content in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [at, at + len(content)]}
        at += len(content)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(tensors.values())
