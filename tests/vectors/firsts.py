"""What a packer who lies makes of catalogs and their preambles, where something else is lost or wrong too."""

from __future__ import annotations

import dataclasses

from airbundle.crypto.envelope import parse_preamble
from airbundle.format.preamble import write_preamble_bytes
from tests.transfer.forge import Lies
from tests.vectors.damage import zeros
from tests.vectors.lies import Hostile, off, payload, replace, signers

CATALOGS = ("1/catalog.abs", "1/catalog-copy.abs")
"""Of 7 blocks: preamble, list, data, 2 of parity, list, preamble."""


def first_vectors() -> list[Hostile]:
    return [
        Hostile("D-2", "catalog-parity", "Parity of the catalog that is none was signed, and a block of it is lost.",
                Lies(catalog=lambda _: off()), more={"splices": [zeros(name, 3) for name in CATALOGS]}),
        Hostile("G-10", "alone", "The catalog's preamble is lost, that of the segments is of another bundle.",
                Lies(packed=of_no_bundle, statement=lambda s: replace(s, revision=1)),
                more={"splices": [zeros(name, at) for name in CATALOGS for at in (0, 6)]}),
        Hostile("G-1", "catalog-role", "The catalog's own row says data, by a stranger: malformed first (4).",
                dataclasses.replace(payload(b',"catalog",', b',"data",'),
                                    document=signers("stranger-standard").document)),
    ]


def of_no_bundle(raw: bytes) -> bytes:
    return write_preamble_bytes(dataclasses.replace(parse_preamble(raw), bundle_id=bytes(16)))
