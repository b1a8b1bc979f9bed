"""The vectors that are validly signed and wrong: bundles by a packer who lies, and statements that were tampered with.

Each is a base with other files over it; the randomness is that of its base, so that little differs. What lies inside
of the seals is in `inside.py`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from airbundle.crypto.envelope import BundleKey, Context, parse_preamble, write_preamble
from airbundle.format.block import FRONT
from airbundle.format.cost import PassphraseCost
from airbundle.format.preamble import ENVELOPE_PASSPHRASE, SealedKey, write_preamble_bytes
from tests.transfer.forge import Lies
from tests.vectors.bases import COST, PASSPHRASE, stream
from tests.vectors.firsts import first_vectors, of_no_bundle
from tests.vectors.inside import manifest_vectors, path_vectors, sealed_vectors
from tests.vectors.lies import (
    Hostile,
    Turned,
    document,
    envelopes,
    flip,
    locked,
    many,
    off,
    payload,
    preamble,
    replace,
    rows,
    signature,
    signers,
    statement,
    table,
)
from tests.vectors.people import person

if TYPE_CHECKING:
    from collections.abc import Callable

ZERO_OUT = [{"do": "write", "file": f"1/0000000{number}.abs", "at": 2 * 4096, "zeros": 4096} for number in (0, 1)]


def hostile_vectors() -> list[Hostile]:
    return [*_blocks(), *_keys(), *_statements(), *_records(), *sealed_vectors(), *manifest_vectors(),
            *path_vectors(), *first_vectors()]


def _records() -> list[Hostile]:
    """Records that fit their own code, and no statement.json beside them; content begins at 64."""
    def put_bytes(at: int, content: bytes, *, digested: bool = True) -> Callable[[bytearray], None]:
        def change(frame: bytearray) -> None:
            frame[at:at + len(content)] = content
            if digested:
                frame[8:56] = blake3(FRONT + bytes(frame[56:])).digest().ljust(48, b"\0")

        return change

    kinds = {
        ("K-1", "record"): ("A record of suite 9.", put_bytes(58, b"\t")),
        ("R-2", "length"): ("A record of more than 95 KiB.", put_bytes(60, (97_281).to_bytes(4, "little"))),
        ("R-3", "magic"): ("A record with another magic.", put_bytes(0, bytes(8))),
        ("R-3", "version"): ("A record of version 2.", put_bytes(56, b"\2")),
        ("R-3", "kind"): ("A record of another kind.", put_bytes(59, b"\3")),
        ("R-3", "digest"): ("Content that does not match the digest.", put_bytes(40_000, b"\1", digested=False)),
        ("R-3", "behind"): ("A byte behind the content that is not zero.", put_bytes(90_000, b"\1")),
        ("R-3", "digest-padding"): ("A byte behind the short digest that is not zero.",
                                    put_bytes(50, b"\1", digested=False)),
    }
    gone = [{"do": "delete", "file": "1/statement.json"}]
    return [Hostile(rule, name, comment, record=change, more={"splices": gone})
            for (rule, name), (comment, change) in kinds.items()]


def _blocks() -> list[Hostile]:
    one = b'[0,"data",0,0,1,1,2,1,4096,'
    two = b'[1,"parity",0,1,1,1,2,1,4096,'
    return [
        Hostile("B-1", "size", "A signed row with blocks of 6000 bytes.",
                rows(",1,2,1,4096,3968,", ",1,2,1,6000,5872,")),
        Hostile("B-1", "too-small", "A signed row with blocks of 2 KiB.",
                rows(",1,2,1,4096,3968,", ",1,2,1,2048,1920,")),
        Hostile("B-1", "catalog", "The statement's row of the catalog has blocks of 2 MiB.", Lies(
            statement=lambda s: replace(s, catalog=replace(s.catalog, block_size=2 << 20)))),
        Hostile("B-2", "m", "A signed row with one parity block a stripe.",
                table(one, one.replace(b",1,2,1,", b",1,1,1,"))),
        Hostile("B-2", "k", "A signed row whose k is not what its blocks and stripes give.",
                table(one, one.replace(b",1,2,1,", b",2,2,1,"))),
        Hostile("B-2", "stripes", "A signed row with no stripes.", table(one, one.replace(b",1,2,1,", b",1,2,0,"))),
        Hostile("B-2", "more-stripes", "A signed row with more stripes than data blocks.",
                table(one, one.replace(b",1,2,1,", b",1,2,2,"))),
        Hostile("B-2", "body", "A body that is not whole blocks.", rows(",4096,3968,", ",4096,3969,")),
        Hostile("B-3", "large", "A signed row of more than 288 MiB.",
                rows(",1,2,1,4096,3968,", ",128,2,610,4096,309821440,")),
        Hostile("B-3", "catalog", "A catalog of a petabyte.", Lies(
            statement=lambda s: replace(s, catalog=replace(s.catalog, k=128, m=2, stripes=2**32 - 1,
                                                           body=(2**32 - 1) * 128 * 3968)))),
        Hostile("S-6", "root", "A signed root that is not that of the segment, and its group gives no other.",
                Lies(table=_other_root)),
        Hostile("S-8", "parity", "Parity that gives back something else; the block is lost in both members.",
                Lies(parity=lambda _: off()), more={"splices": ZERO_OUT}),
        Hostile("S-8", "parity-lost", "A parity block that is none was signed, and is lost: the data are all there.",
                Lies(parity=lambda _: off()), more={"splices": [
                    {"do": "write", "file": "1/00000000.abs", "at": 3 * 4096, "zeros": 4096}]}),
        Hostile("G-9", "outer-lost", "A parity segment that is none was signed, and is lost: the data are all there.",
                Lies(outer=lambda body: body[:-1] + bytes([body[-1] ^ 1])),
                more={"splices": [{"do": "delete", "file": "1/00000001.abs"}]}),
        Hostile("G-9", "outer", "A parity segment of something else; the data segment is gone.",
                Lies(outer=lambda body: body[:-1] + bytes([body[-1] ^ 1])),
                more={"splices": [{"do": "delete", "file": "1/00000000.abs"}]}),
        Hostile("S-8", "whole", "Parity that would give back something else, and nothing is lost: whole.",
                Lies(parity=lambda _: off())),
        Hostile("G-1", "number", "A row out of order.", table(b'[1,"parity"', b'[2,"parity"')),
        Hostile("G-1", "role", "A row of an unknown role.", table(b'"parity"', b'"twin"')),
        Hostile("G-1", "volume", "A row on a volume that the bundle does not have.",
                table(b'"data",0,0,1,', b'"data",0,0,2,')),
        Hostile("G-1", "catalog-group", "The catalog's own row names a group.", Lies(
            statement=lambda s: replace(s, catalog=replace(s.catalog, group=1)))),
        Hostile("G-1", "missing", "A table with a row less than the catalog's number.",
                Lies(table=lambda raw: raw[:raw.index(b',[1,"parity"')] + b"]}")),
        Hostile("G-2", "behind", "A byte behind the sealed manifest that is not zero.",
                Lies(body=lambda raw: raw + b"\1")),
        Hostile("G-6", "no-parity", "A group without a parity segment.", table(two, two.replace(b"parity", b"data"))),
        Hostile("G-6", "position", "A position twice.", table(b'"parity",0,1,', b'"parity",0,0,')),
        Hostile("G-6", "group", "Groups that do not begin at 0.", table(b'"data",0,', b'"data",1,')),
        Hostile("G-6", "body", "A parity segment longer than its data member.",
                table(two + b"3968", two.replace(b",1,2,1,", b",2,2,1,") + b"7936")),
        Hostile("G-1", "and-preamble", "A row out of order, and a preamble of another bundle: the table comes first.",
                dataclasses.replace(table(b'[1,"parity"', b'[2,"parity"'), preamble=of_no_bundle)),
        Hostile("G-1", "and-stranger", "A row out of order, for a key that has no envelope.",
                table(b'[1,"parity"', b'[2,"parity"'), more={"key": "second-standard"}),
        Hostile("G-2", "nothing-sealed", "A sealed manifest of no bytes: only who opens it sees that it is none.",
                Lies(body=_no_manifest)),
        Hostile("E-1", "root-of-another-suite", "A root of 48 bytes in suite 1: not malformed, and nothing fits it.",
                Lies(table=_long_root)),
        Hostile("L-2", "length", "A table of more than 64 MiB, by its length field.",
                Lies(body=lambda raw: struct.pack("<Q", (64 << 20) + 1) + raw[8:])),
        Hostile("L-2", "past-the-end", "A table that is longer than the body.",
                Lies(body=lambda raw: struct.pack("<Q", 100_000) + raw[8:])),
        Hostile("L-3", "length", "A sealed manifest of a terabyte, by its length field.", Lies(body=_long_manifest)),
        Hostile("E-1", "table", "A table with white space.", Lies(table=lambda raw: raw.replace(b",", b", ", 1))),
    ]


def _other_root(raw: bytes) -> bytes:
    rows = json.loads(raw)["rows"]
    rows[0][-1] = "00" * 32
    return json.dumps({"rows": rows}, separators=(",", ":")).encode()


def _long_root(raw: bytes) -> bytes:
    rows = json.loads(raw)["rows"]
    rows[1][-1] += "00" * 16
    return json.dumps({"rows": rows}, separators=(",", ":")).encode()


def _no_manifest(raw: bytes) -> bytes:
    end = 8 + struct.unpack_from("<Q", raw)[0]
    return raw[:end] + bytes(len(raw) - end)


def _long_manifest(raw: bytes) -> bytes:
    end = 8 + struct.unpack_from("<Q", raw)[0]
    return raw[:end] + struct.pack("<Q", 1 << 40) + raw[end + 8:]


def _keys() -> list[Hostile]:
    def twice(honest: Any) -> Any:
        return honest.envelopes * 2

    def other_context(field: str, value: Any) -> Lies:
        return preamble(lambda honest: write_preamble_bytes(dataclasses.replace(honest, **{field: value})))

    passphrase = {"key": "", "passphrase": PASSPHRASE}
    return [
        Hostile("K-2", "packer", "A preamble that names another packer than the statement.",
                other_context("packer_id", person("stranger-standard").public.key_id)),
        Hostile("K-2", "bundle", "A preamble of another bundle.", other_context("bundle_id", bytes(16))),
        Hostile("K-2", "suite", "A preamble of the other suite.", Lies(preamble=_other_suite)),
        Hostile("K-5", "sealed-wrongly", "An envelope for the key that does not open.",
                envelopes(lambda p: (SealedKey(p.envelopes[0].recipient, p.envelopes[0].sealed[:-1] + b"\0"),))),
        Hostile("K-5", "of-another-bundle", "An envelope that was sealed for another bundle.",
                Lies(preamble=_of_another_bundle)),
        Hostile("K-2", "short", "A preamble that ends before the packer's id.", Lies(preamble=lambda raw: raw[:30])),
        Hostile("K-6", "behind", "A byte behind the last envelope.", Lies(preamble=lambda raw: raw + b"\0")),
        Hostile("K-6", "cut", "A preamble that ends inside an envelope.", Lies(preamble=lambda raw: raw[:-1])),
        Hostile("K-6", "none", "A preamble without envelopes.",
                Lies(preamble=lambda raw: raw[:1] + b"\0" + raw[2:84])),
        Hostile("K-6", "twice", "A recipient twice.", envelopes(twice)),
        Hostile("K-6", "type", "An envelope of type 3.", envelopes(
            lambda p: (dataclasses.replace(p.envelopes[0], kind=3),))),
        Hostile("K-6", "size", "An envelope of type 1 with a byte more.", envelopes(
            lambda p: (dataclasses.replace(p.envelopes[0], sealed=p.envelopes[0].sealed + b"\0"),))),
        Hostile("K-6", "zero", "Bytes of the preamble's head that are not zero.",
                Lies(preamble=lambda raw: raw[:2] + b"\1" + raw[3:])),
        Hostile("K-7", "envelopes", "The statement has another hash of the preamble.", Lies(
            statement=lambda s: replace(s, preamble=replace(s.preamble, hash="00" * 32),
                                        envelopes=replace(s.envelopes, hash="00" * 32)))),
        Hostile("K-8", "commitment", "The envelope holds another key than the preamble is committed to.",
                other_context("commitment", bytes(32))),
        Hostile("K-11", "suite", "A statement of the other suite than the key of its packer.", Lies(
            statement=lambda s: replace(s, suite="cnsa2"))),
        Hostile("K-11", "countersignature", "A countersignature of another suite: counts for nothing, is reported.",
                signers("packer-standard", "officer-cnsa2"),
                more={"trust": ["packer-standard", "officer-cnsa2"]}),
        Hostile("K-12", "beside", "An envelope under a passphrase beside one for a key.",
                locked(beside=True), more=passphrase),
        Hostile("K-12", "recipient", "An envelope under a passphrase that names a recipient.",
                locked(recipient=b"\1" + bytes(31)), more=passphrase),
        Hostile("K-12", "suite", "An envelope of type 2 in the suite that has none.", envelopes(
            lambda p: (SealedKey(bytes(48), COST.packed() + bytes(64), ENVELOPE_PASSPHRASE),)), base="cnsa2"),
        Hostile("K-13", "opens", "Under a passphrase, as it should be.", locked(), more=passphrase),
        *(Hostile("K-14", name, f"A passphrase that asks for {what}.", locked(cost=struct.pack("<3I", *cost)),
                  more=passphrase) for name, what, cost in (
            ("memory", "a TiB of memory", (1 << 30, 1, 1)), ("iterations", "17 iterations", (64, 17, 1)),
            ("lanes", "17 lanes", (1024, 1, 17)), ("few", "less than 8 KiB for each lane", (15, 1, 2)),
            ("none", "no iterations", (64, 0, 1)))),
        Hostile("K-15", "unsigned", "The largest cost that is allowed, and no signature that counts.",
                dataclasses.replace(locked(cost=PassphraseCost(512 << 10, 16, 16).packed()),
                                    document=signers("stranger-standard").document), more=passphrase),
        Hostile("G-10", "revision-0", "Two preambles in a statement of revision 0.", Lies(
            statement=lambda s: replace(s, envelopes=replace(s.envelopes, hash="00" * 32)))),
        Hostile("G-10", "one-of-two-lengths", "A later statement names one preamble, with two lengths.", Lies(
            statement=lambda s: replace(s, revision=1, envelopes=replace(s.envelopes, length=s.envelopes.length + 1)))),
    ]


def _promises_and_more(raw: bytes) -> bytes:
    return write_preamble_bytes(dataclasses.replace(parse_preamble(raw), commitment=bytes(32))) + b"\0"


def _other_suite(raw: bytes) -> bytes:
    found = parse_preamble(raw)
    return (struct.pack("<BBH", 2, 1, 0) + found.bundle_id + bytes(48) + bytes(48)
            + struct.pack("<BBH", 1, 0, 1616) + bytes(48) + bytes(1616))


def _of_another_bundle(raw: bytes) -> bytes:
    draw = stream("plain")
    key = (draw(16), BundleKey.generate(entropy=draw))[1]
    packer = person("packer-standard")
    other = parse_preamble(write_preamble(Context(packer.suite, bytes(16), packer.public.key_id), key,
                                          [person("reader-standard").public]))
    return write_preamble_bytes(dataclasses.replace(parse_preamble(raw), envelopes=other.envelopes))


def _add_order(raw: bytearray) -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    raw[32:64] = (int.from_bytes(raw[32:64], "little") + order).to_bytes(32, "little")


def _statements() -> list[Hostile]:
    volume = b'{"number":1,"name":"","size":1,"serial":null}'

    def volumes(count: int) -> bytes:
        return b",".join(volume.replace(b":1,", b":%d," % number, 1) for number in range(1, count + 1))

    def other_type(fields: dict[str, Any]) -> None:
        fields["payloadType"] = "application/vnd.airbundle.receipt.v1+json"

    def added(fields: dict[str, Any]) -> None:
        fields["more"] = 1

    def another_payload(fields: dict[str, Any]) -> None:
        raw = base64.b64decode(fields["payload"]).replace(b'"forged"', b'"gilded"')
        fields["payload"] = base64.b64encode(raw).decode()

    def loose(fields: dict[str, Any]) -> None:
        text = fields["signatures"][0]["sig"]
        assert text.endswith("=")
        fields["signatures"][0]["sig"] = text.rstrip("=")

    old_record = {"do": "copy", "file": "1/statement.rec", "from": "1/statement.rec", "base": "plain"}
    stranger = signers("stranger-standard").document
    promised = dataclasses.replace(statement(lose=1), payload=payload(volume, volumes(2)).payload)
    both_gone = [{"do": "delete", "file": f"1/0000000{at}.abs"} for at in (0, 1)]
    on_two = dataclasses.replace(promised, table=table(b'"parity",0,1,1,', b'"parity",0,1,2,').table)
    return [
        Hostile("T-1", "type", "Signed as a document of another type.",
                signers("packer-standard", payload_type="application/vnd.airbundle.receipt.v1+json")),
        Hostile("T-1", "type-changed", "The type was changed after signing.", document(other_type)),
        Hostile("T-2", "ed25519", "The Ed25519 half of the signature does not hold.", signature(flip(5))),
        Hostile("T-2", "mldsa", "The ML-DSA half of the signature does not hold.", signature(flip(100))),
        Hostile("T-2", "ed25519-twin", "The second number of the Ed25519 half with the group's order added.",
                signature(_add_order)),
        Hostile("T-2", "short", "A signature that is cut.", signature(lambda raw: raw.__delitem__(slice(64, None)))),
        Hostile("T-2", "mldsa-87", "The signature of the other suite does not hold.", signature(flip(9)), base="cnsa2",
                more={"trust": ["packer-cnsa2"], "key": "reader-cnsa2"}),
        Hostile("T-2", "payload", "The payload was changed after signing.", document(another_payload)),
        Hostile("T-3", "countersigner", "Signed by a trusted officer and not by the packer.",
                signers("officer-standard"),
                more={"trust": ["packer-standard", "officer-standard"]}),
        Hostile("T-3", "stranger-too", "An unknown key has signed too: counts for nothing.",
                signers("packer-standard", "stranger-standard")),
        Hostile("T-3", "failing-too", "A trusted officer's signature does not hold: counts for nothing, is reported.",
                signers("packer-standard", "officer-standard", spoil=("officer-standard",)),
                more={"trust": ["packer-standard", "officer-standard"]}),
        Hostile("T-4", "two-labels", "Statement and record are two signed payloads of one revision.",
                statement(label="gilded"), more={"splices": [old_record]}),
        Hostile("T-4", "two-revisions", "Two revisions that differ in what a revision keeps, here the label (T-10).",
                statement(label="gilded", revision=1), more={"splices": [old_record]}),
        Hostile("T-4", "two-bundles", "The record is a statement of another bundle by the same packer.", Lies(),
                more={"splices": [{"do": "copy", "file": "1/statement.rec", "from": "1/statement.rec",
                                   "base": "stripes"}]}),
        Hostile("T-5", "eleven", "Eleven signatures.", many(11)),
        Hostile("T-5", "ten", "Ten signatures, nine of them by nobody: allowed.", many(10)),
        Hostile("T-5", "same-key", "Two signatures by one key.", many(2, same=True)),
        Hostile("T-5", "keyid", "A second signature whose key id is none: that copy cannot be read.", document(
            lambda fields: fields["signatures"].append({"keyid": "x", "sig": "AAAA"}))),
        Hostile("T-5", "no-bytes", "A second signature of no bytes: any will do.", document(
            lambda fields: fields["signatures"].append({"keyid": "00" * 32, "sig": ""}))),
        Hostile("T-5", "none", "No signatures.", document(lambda fields: fields.update(signatures=[]))),
        Hostile("T-5", "numbers", "Volumes that are not numbered from 1.",
                payload(volume, volume.replace(b":1,", b":2,", 1))),
        Hostile("T-5", "no-volumes", "No volumes.", payload(volume, b"")),
        Hostile("T-5", "65-volumes", "65 volumes.", payload(volume, volumes(65))),
        Hostile("T-5", "series", "A series without a sequence.", statement(series="nightly")),
        Hostile("T-5", "null-name", "A volume whose name is null: only a serial number may be.",
                payload(b'"name":""', b'"name":null')),
        Hostile("T-5", "geometry-by-stranger", "Blocks of 6000 bytes for the catalog, by a stranger: not looked at.",
                dataclasses.replace(statement(), document=stranger, statement=lambda s: replace(
                    s, catalog=replace(s.catalog, block_size=6000)))),
        Hostile("T-5", "length-by-stranger", "A preamble of more than 128 KiB, by a stranger: malformed first (4).",
                dataclasses.replace(Lies(), document=stranger, statement=lambda s: replace(
                    s, preamble=replace(s.preamble, length=(128 << 10) + 1),
                    envelopes=replace(s.envelopes, length=(128 << 10) + 1)))),
        Hostile("T-5", "other-suite-too", "Of another suite than its packer's key, and malformed, which comes first.",
                statement(suite="cnsa2", lose=1)),
        Hostile("T-5", "role", "The catalog's row has another role.", payload(b'"catalog",0', b'"data",0')),
        Hostile("T-6", "promise", "The rows do not keep the promise of `lose`, which no reader asks.",
                promised, more={"given": ["1"]}),
        Hostile("D-3", "two-volumes", "Both segments are gone, one of them perhaps on a volume that is not here.",
                on_two, more={"given": ["1"], "splices": both_gone}),
        Hostile("D-3", "malformed-preamble", "The same, and the preamble is malformed: damaged, whatever is not here.",
                dataclasses.replace(on_two, preamble=lambda raw: raw + b"\0"),
                more={"given": ["1"], "splices": both_gone}),
        Hostile("D-3", "malformed-table", "The table is malformed, and a volume is not here: damaged.",
                dataclasses.replace(promised, table=table(b'"parity"', b'"twin"').table), more={"given": ["1"]}),
        Hostile("D-3", "hollow", "No segments, so nothing has the other preamble of a later revision: whole.",
                Lies(hollow=True, statement=lambda s: replace(
                    s, revision=1, preamble=replace(s.preamble, hash="00" * 32))),
                files={"a": b""}, more={"splices": both_gone}),
        Hostile("T-7", "malformed", "The table of a later revision is malformed; the one before is here and not used.",
                dataclasses.replace(statement(revision=1), table=table(b'"parity"', b'"twin"').table),
                more={"splices": [old_record, {"do": "copy", "file": "1/FILE0000.CHK", "from": "1/catalog.abs",
                                               "base": "plain"}]}),
        Hostile("T-7", "malformed-row", "A later revision whose catalog has blocks of 2 MiB; the one before is here.",
                Lies(statement=lambda s: replace(s, revision=1, catalog=replace(s.catalog, block_size=2 << 20))),
                more={"splices": [old_record]}),
        Hostile("G-10", "malformed", "The preamble of the segments is malformed, that of the catalog is not.",
                Lies(packed=lambda raw: raw + b"\0", statement=lambda s: replace(s, revision=1))),
        Hostile("G-10", "malformed-and-stranger", "The same, for a key that has no envelope: malformed comes first.",
                Lies(packed=lambda raw: raw + b"\0", statement=lambda s: replace(s, revision=1)),
                more={"key": "second-standard"}),
        Hostile("G-10", "malformed-and-promise", "The segments' preamble is malformed and promises another key.",
                Lies(packed=_promises_and_more, statement=lambda s: replace(s, revision=1))),
        Turned("G-5", "order", "The slices cover the source, but not in order of the segments.", base="drive"),
        Hostile("L-2", "not-all-given", "A table of more than 64 MiB, and a volume is not here: damaged.",
                dataclasses.replace(promised, body=lambda raw: struct.pack("<Q", (64 << 20) + 1) + raw[8:]),
                more={"given": ["1"]}),
        Hostile("K-11", "beside", "A later revision of another suite than its packer's key: the one before holds.",
                statement(suite="cnsa2", revision=1), more={"splices": [old_record]}),
        Hostile("D-3", "empty-volume", "All is lost, and the volume that is not here holds no segment.", promised,
                more={"given": ["1"], "splices": [
                    *({"do": "delete", "file": f"1/0000000{at}.abs"} for at in (0, 1)),
                    {"do": "rename", "file": "1", "to": "1/../forged-1of2.airbundle"}]}),
        Hostile("D-5", "expired", "Expired: no matter of the answer.", statement(expires=1)),
        Hostile("D-1", "malformed", "A payload that is malformed, and whose signature does not hold.", document(
            lambda fields: fields.update(payload=base64.b64encode(b'{"airbundle":2}').decode()))),
        Hostile("T-6", "lose", "One of one volume may be lost.", statement(lose=1)),
        Hostile("T-10", "revision", "A revision that a writer may have reached: any number is as good.",
                statement(revision=7)),
        Hostile("L-5", "payload", "A payload of more than 16 KiB.", payload(volume, volumes(64).replace(
            b'"name":""', b'"name":"' + b"n" * 250 + b'"'))),
        Hostile("K-1", "name", "A suite that nobody knows.", payload(b'"standard"', b'"cnsa3"')),
        Hostile("E-1", "version", "A payload of version 2.", payload(b'{"airbundle":1', b'{"airbundle":2')),
        Hostile("E-1", "payload-field", "A payload with a field that is not in the table.",
                payload(b'"lose":', b'"more":1,"lose":')),
        Hostile("E-1", "base", "A payload whose base is not null.", payload(b'"base":null', b'"base":1')),
        Hostile("E-3", "payload-space", "A payload with a space.", payload(b'"lose":', b'"lose": ')),
        Hostile("E-3", "envelope-field", "An envelope with a field more.", document(added)),
        Hostile("E-3", "base64", "A signature in base64 without padding.", document(loose), base="cnsa2",
                more={"trust": ["packer-cnsa2"], "key": "reader-cnsa2"}),
        *(Hostile("E-4", name, f"A label {what}.", statement(label=text)) for name, what, text in (
            ("escape", "that steers a terminal", "\x1b[31mred"), ("direction", "that turns the direction", "a\u202eb"),
            ("nfc", "that is not in NFC", "e\u0301"), ("space", "with a space that is none", "a\u00a0b"),
            ("long", "of 257 bytes", "x" * 257), ("private", "with a character of private use", "\ue000"))),
        Hostile("P-6", "label", "A label with a code point that is not assigned: not refused.",
                statement(label="a\u0378")),
    ]
