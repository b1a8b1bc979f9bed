"""A policy in words: the commented file that `policy init` writes, and what `policy check` says that one lets in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.format.names import shown
from airbundle.station.gates.rules import resolve_scanner
from airbundle.station.policy import ADMINISTRATOR, PACKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.station.policy import LoadedPolicy

TEMPLATE = """\
# What this station lets in. `airbundle policy check` says in plain words what follows from it.
# A key that is not known is an error. Files in {stem}.d/*.toml are read after this one, in order of their names:
# tables are merged, lists are appended to. Flags and environment can only make it stricter.
# Paths are relative to the folder of this file; spans are like 90d, sizes like 512G.
version = 1

[station]
name = "{name}"
key = "{key}"          # opens bundles sealed to it, and signs receipts
open-with = []         # more keys that open bundles
state = "state"        # ledger, audit log and receipts; back it up

[thresholds]           # so many different keys of each role have to sign; a key counts for one role only
packer = 1
releaser = {releasers}
administrator = 1      # for waivers

[bundle]
suite = "standard"            # or "cnsa2": nothing weaker comes in
series-required = false
marking-required = false
markings = []                 # patterns, such as ["UNCLASSIFIED*"]; none: any
expiry-required = false
longest-life = ""             # such as "400d"
largest-size = "16T"
most-files = 500000
altered-blocks = "refuse"     # somebody wrote blocks with digests of their own; "accept": put right and said

[clock]
skew = "1d"                   # so far may the packer's clock be ahead

# [[series]]                  # once for each series; none: any series comes in
# name = "llama-*"
# packers = ["alice"]         # names in the key files; none: any packer
# largest-step = 10           # 0: any

[devices]
serials = []                  # drives that may bring something; none: any
recorded-serial = "report"    # if it is not the drive that was written to: "ignore", "report" or "refuse"

[custody]
chain = "report"              # events on the drive that are broken, or by strangers: "ignore", "report" or "refuse"
required = []                 # events that have to be there, such as ["handed-over"]

[gates]
formats = ["safetensors", "gguf", "json", "text"]   # "code" lets programs in
pickle = "deny"               # "tensors": those that hold nothing but tensors and plain values
unexamined = []               # patterns of paths that may pass although no gate knows them, such as ["*.model"]
scanners = []                 # "picklescan", "modelscan", "modelaudit", "clamscan", where they are installed

[publish]
root = "models"
layout = "plain"              # or "hf-cache": bundles carry --meta hf-repo=ORG/NAME
hook = []                     # a command that is run afterwards

[receipts]
copy-to = ""                  # a folder that gets a copy of each receipt

[audit]
syslog = false
rotate = "16M"

# Whom the station knows. A key file has to have been compared (docs/first-trust.md).
{keys}"""

KEY_TABLE = """\
[[keys]]
file = "{file}"
roles = [{roles}]
"""
NO_KEYS = """\
# [[keys]]
# file = "keys/alice.pub"
# roles = ["packer"]          # or "releaser", "administrator", "courier"
"""


def write_policy(*, stem: str, name: str, key: str, keys: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The text of a policy; `keys` are files and their roles."""
    tables = [KEY_TABLE.format(file=file, roles=", ".join(f'"{role}"' for role in roles)) for file, roles in keys]
    releasers = int(any("releaser" in roles for _, roles in keys))
    return TEMPLATE.format(stem=stem, name=name, key=key, releasers=releasers, keys="\n".join(tables) or NO_KEYS)


def explain(policy: LoadedPolicy) -> list[str]:
    """What the policy lets in, a sentence each; what is worth a second thought begins with `!`."""
    rules = policy.rules
    bundle, gates = rules.bundle, rules.gates
    lines = []
    for role, count in ((PACKER, rules.thresholds.packer), ("releaser", rules.thresholds.releaser)):
        names = [shown(holder.identity.name) for holder in policy.holders_of(role)]
        if count > len(names):
            lines.append(f"!Nothing comes in: {count} of role {role} have to sign, and there are {len(names)}.")
        elif count:
            lines.append(f"{_times(count)} of {', '.join(names)} has to sign as {role}.")
    if rules.thresholds.releaser == 0:
        lines.append("!Whoever packs decides alone: no releaser has to sign.")
    lines.append(f"Suite {bundle.suite} or stronger; at most {bundle.largest_size} and {bundle.most_files} files.")
    lines += _series_lines(policy)
    lines.append(_marking_line(bundle.markings, required=bundle.marking_required))
    lines.append("Bundles have to expire" + (f", within {bundle.longest_life}." if bundle.longest_life else ".")
                 if bundle.expiry_required else "!Bundles need not expire.")
    lines.append(f"One that was made more than {rules.clock.skew} ahead of the station's clock is refused.")
    lines.append("A bundle comes in once, and a series goes only forward.")
    lines.append("Drives: " + (f"only those with serial {', '.join(rules.devices.serials)}" if rules.devices.serials
                               else "any") + f"; another one than was recorded: {rules.devices.recorded_serial}.")
    lines.append(f"Events of custody that are broken: {rules.custody.chain}; those that have to be there: "
                 f"{', '.join(rules.custody.required) or 'none'}.")
    lines.append("Blocks that somebody altered: refused." if bundle.altered_blocks == "refuse" else
                 "!Blocks that somebody altered are put right and let in.")
    lines.append(f"Files: {', '.join(gates.formats)}; pickle: {gates.pickle}.")
    if gates.unexamined:
        lines.append(f"!Not examined and let in: {', '.join(gates.unexamined)}.")
    if gates.scanners:
        lines.append("Scanned with " + ", ".join(resolve_scanner(one).name for one in gates.scanners) + ".")
    lines.append(f"Published to {policy.root} as {rules.publish.layout}"
                 + (f", then {rules.publish.hook[0]} is run." if rules.publish.hook else "."))
    waivers = [shown(holder.identity.name) for holder in policy.holders_of(ADMINISTRATOR)]
    lines.append(f"Waivers: {_times(rules.thresholds.administrator).lower()} of {', '.join(waivers)} has to sign."
                 if len(waivers) >= rules.thresholds.administrator else "Nobody can sign a waiver.")
    return lines


def _series_lines(policy: LoadedPolicy) -> list[str]:
    required = "Every bundle belongs to a series." if policy.rules.bundle.series_required else (
        "A bundle need not belong to a series.")
    if not policy.rules.series:
        return [f"{required} Any series is taken."]
    return [required, *(
        f"Series {shown(table.name)}: packed by {', '.join(table.packers) or 'any packer'}, "
        + (f"by steps of at most {table.largest_step}." if table.largest_step else "by any steps.")
        for table in policy.rules.series)]


def _marking_line(markings: Sequence[str], *, required: bool) -> str:
    if not markings:
        return "A marking is required, whatever it says." if required else "Markings: any, or none."
    return f"Marking: {' or '.join(markings)}{'' if required else ', or none'}."


def _times(count: int) -> str:
    return "One" if count == 1 else str(count)
