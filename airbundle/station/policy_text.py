"""A policy in words: the commented file that `policy init` writes, and what `policy check` says that one lets in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from airbundle.format.names import shown
from airbundle.station.gates.rules import resolve_scanner
from airbundle.station.policy import ADMINISTRATOR, PACKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.station.gates.rules import GateRules
    from airbundle.station.policy import LoadedPolicy, Policy

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

# [[devices.allow]]           # once for each kind that `watch` mounts; none: what can be taken out, or is on USB
# serial = "*"                # patterns of what the device says of itself: it can say anything
# vendor = "SanDisk"
# model = "*"
# bus = "usb"
# port = "1-*"

[watch]                       # the watcher (docs/watching.md)
user = ""                     # who reads drives where it runs as root; nobody named: the owner of this file
hook = []                     # a command that is run for whatever happens to a drive

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
_DOES: Final = {"ignore": "let in", "report": "let in, and said", "refuse": "refused"}
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


class Sentence(NamedTuple):
    """One thing that a policy means; `grave` is what is worth a second thought."""

    text: str
    grave: bool = False


def explain(policy: LoadedPolicy) -> list[Sentence]:
    """What the policy lets in, a sentence each."""
    rules, bundle = policy.rules, policy.rules.bundle
    life = f", within {bundle.longest_life}" if bundle.longest_life else ""
    serials = ", ".join(rules.devices.serials)
    return [
        *_who_signs(policy),
        Sentence(f"Suite {bundle.suite} or stronger; at most {bundle.largest_size} and {bundle.most_files} files."),
        *_series_sentences(policy),
        Sentence(_marking_words(bundle.markings, required=bundle.marking_required)),
        Sentence(f"Bundles have to expire{life}.") if bundle.expiry_required else Sentence(
            "Bundles need not expire.", grave=True),
        Sentence(f"One that was made more than {rules.clock.skew} ahead of the station's clock is refused."),
        Sentence("A bundle comes in once, and a series goes only forward."),
        Sentence(f"Drives that may bring something: {f'those with serial {serials}' if serials else 'any'}. "
                 f"If it is not the drive that was written to: {_DOES[rules.devices.recorded_serial]}."),
        *_watch_sentences(rules),
        Sentence(f"Events of custody that are broken: {_DOES[rules.custody.chain]}; those that have to be there: "
                 f"{', '.join(rules.custody.required) or 'none'}."),
        Sentence("Blocks that somebody altered: refused.") if bundle.altered_blocks == "refuse" else Sentence(
            "Blocks that somebody altered are put right and let in.", grave=True),
        *_gate_sentences(rules.gates),
        Sentence(f"Published to {policy.root} as {rules.publish.layout}"
                 + (f"; then this is run: {' '.join(rules.publish.hook)}." if rules.publish.hook else ".")),
        Sentence(f"Bundles are opened with {', '.join((rules.station.key, *rules.station.open_with))}."),
        Sentence("Receipts lie in the state folder" + (f", and in {policy.receipts_to}." if policy.receipts_to else ".")
                 + (" The audit log goes to the system's log too." if rules.audit.syslog else "")),
        _who_waives(policy)]


def _who_signs(policy: LoadedPolicy) -> list[Sentence]:
    thresholds = policy.rules.thresholds
    found = []
    for role, count in ((PACKER, thresholds.packer), ("releaser", thresholds.releaser)):
        names = [f"{shown(holder.identity.name)} ({holder.identity.public.hex[:9]})"
                 for holder in policy.holders_of(role)]
        if count > len(names):
            found.append(Sentence(f"Nothing comes in: {count} keys have to sign as {role}, and {len(names)} can.",
                                  grave=True))
        elif count:
            found.append(Sentence(f"{_times(count)}{', '.join(names)} has to sign as {role}." if len(names) > 1 else
                                  f"{names[0]} has to sign as {role}."))
    if thresholds.releaser == 0:
        found.append(Sentence("Whoever packs decides alone: no releaser has to sign.", grave=True))
    return found


def _who_waives(policy: LoadedPolicy) -> Sentence:
    names, count = ([shown(holder.identity.name) for holder in policy.holders_of(ADMINISTRATOR)],
                    policy.rules.thresholds.administrator)
    if len(names) < count:
        return Sentence("Nobody can sign a waiver.")
    return Sentence(f"Waivers: {_times(count).lower() if len(names) > 1 else ''}{', '.join(names)} has to sign.")


def _watch_sentences(rules: Policy) -> list[Sentence]:
    allowed = "; ".join(map(str, rules.devices.allow)) or "what can be taken out, or is on USB"
    found = [Sentence(f"The watcher mounts: {shown(allowed)}.")]
    if rules.watch.hook:
        found.append(Sentence(f"For whatever happens to a drive this is run: {' '.join(rules.watch.hook)}."))
    return found


def _gate_sentences(gates: GateRules) -> list[Sentence]:
    found = [Sentence(f"Files may be {', '.join(gates.formats)}.", grave="code" in gates.formats)]
    if gates.pickle == "deny":
        found.append(Sentence("Pickles are refused, whatever they are called."))
    else:
        found.append(Sentence("Pickles that hold nothing but tensors and plain values are let in."))
    if gates.allow_globals:
        found.append(Sentence(f"Pickles may also call {', '.join(gates.allow_globals)}.", grave=True))
    if gates.unexamined:
        found.append(Sentence(f"Let in without being examined: {', '.join(gates.unexamined)}.", grave=True))
    if gates.scanners:
        found.append(Sentence("Scanned with " + ", ".join(resolve_scanner(one).name for one in gates.scanners) + "."))
    return found


def _series_sentences(policy: LoadedPolicy) -> list[Sentence]:
    required = "Every bundle belongs to a series." if policy.rules.bundle.series_required else (
        "A bundle need not belong to a series.")
    if not policy.rules.series:
        return [Sentence(f"{required} Any series is taken.")]
    return [Sentence(required), *(
        Sentence(f"Series {shown(table.name)}: packed by {', '.join(table.packers) or 'any packer'}, "
                 + (f"by steps of at most {table.largest_step}." if table.largest_step else "by any steps."))
        for table in policy.rules.series)]


def _marking_words(markings: Sequence[str], *, required: bool) -> str:
    if not markings:
        return "A marking is required, whatever it says." if required else "Markings: any, or none."
    return f"Marking: {' or '.join(markings)}{'' if required else ', or none'}."


def _times(count: int) -> str:
    return "One of " if count == 1 else f"{count} of "
