"""import, policy, waive: the station on the high side."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import typer

from airbundle import api, station_api
from airbundle.cli import output, words
from airbundle.cli.choices import BundleId, Jobs, Json, KeyPassphrase, ProgressStyle, Volumes
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import AirbundleError, PolicyError, UsageError
from airbundle.format.quantities import parse_span
from airbundle.media import keystore
from airbundle.station.intake import ImportResult
from airbundle.station.policy import LoadedPolicy, load_policy
from airbundle.station.policy_text import explain, write_policy
from airbundle.station.states import MEANING, STEPS
from airbundle.station.waivers import WAIVABLE, add_signature, make_waiver, parse_waiver
from airbundle.transfer.workspace import Pace

policy = typer.Typer(no_args_is_help=True, help="What a station lets in.", add_completion=False)

POLICY_ENVIRONMENT = "AIRBUNDLE_POLICY"
PolicyFile = Annotated[str, typer.Option("--policy", metavar="FILE", envvar=POLICY_ENVIRONMENT,
                                         help="What this station lets in.")]
TIGHTER = ("suite", "largest-size", "series", "altered-blocks")


def import_(volumes: Volumes, policy_file: PolicyFile,
            waiver: Annotated[list[str] | None, typer.Option(
                "--waiver", metavar="FILE", help="An exception signed by an administrator.")] = None,
            suite: Annotated[str, typer.Option(
                metavar="cnsa2", help="Make the policy stricter: no weaker suite than this.")] = "",
            largest_size: Annotated[str, typer.Option(
                metavar="SIZE", help="Make the policy stricter: nothing larger.")] = "",
            series: Annotated[str, typer.Option(metavar="NAME", help="Make the policy stricter: this series only.")]
            = "",
            altered_blocks: Annotated[str, typer.Option(
                metavar="refuse", help="Make the policy stricter: no block that somebody altered.")] = "",
            receipt_to: Annotated[str, typer.Option(
                metavar="DIR", help="Copy the receipt there too, such as onto a drive.")] = "",
            bundle: BundleId = "", jobs: Jobs = 0, progress: ProgressStyle = "auto", as_json: Json = False) -> None:
    """Let a bundle in under a policy, or say why not; either way with a signed receipt.

    The same command goes on after it was stopped, or with the next volume.
    """
    flags = {"suite": suite, "largest-size": largest_size, "series": series, "altered-blocks": altered_blocks}
    with output.ProgressView(progress) as view:
        try:
            result = station_api.intake(
                volumes, policy=load_tightened(policy_file, flags), waivers=waiver or (), bundle=bundle,
                pace=Pace(jobs=jobs), progress=view, receipt_to=receipt_to)
        except AirbundleError as error:
            if isinstance(error.report, ImportResult):
                _show_refusal(error, error.report, as_json=as_json)
            raise
    if as_json:
        output.emit("import", result)
        return
    rate = result.bytes / result.seconds if result.seconds else 0
    content = f"{output.counted(result.files, 'file')}, {output.human(result.bytes)}"
    output.table([("bundle", result.bundle), ("label", result.label), ("content", content),
                  ("took", f"{result.seconds:.1f} s, {output.human(int(rate))}/s"), ("receipt", result.receipt)])
    for note in result.notes:
        output.warn(note)
    output.good(f"imported: {result.target}")


def _show_refusal(error: AirbundleError, result: ImportResult, *, as_json: bool) -> None:
    if not as_json:
        output.table([("state", result.state.value), ("because", MEANING.get(result.code, STEPS[result.state])),
                      ("code", ", ".join(dict.fromkeys((result.code, *result.codes)))),
                      ("bundle", result.bundle or "-"), ("receipt", result.receipt or "-")])
    for note in result.notes:
        output.warn(note)
    waivable = [code for code in dict.fromkeys(result.codes) if code in WAIVABLE]
    if isinstance(error, PolicyError) and waivable and len(waivable) == len(set(result.codes)) and result.statement:
        allow = " ".join(f"--allow {code}" for code in waivable)
        error.hint += (f"\nif that is wrong, an administrator can lift it: airbundle waive {result.statement} {allow} "
                       "--reason TEXT --sign NAME.key -o FILE")


def load_tightened(path: str, flags: Mapping[str, str] = MappingProxyType({})) -> LoadedPolicy:
    """The policy, made stricter by flags and by the environment (`AIRBUNDLE_SUITE` and so on)."""
    tighter = [(name, os.environ.get("AIRBUNDLE_" + name.upper().replace("-", "_"), "")) for name in TIGHTER]
    return load_policy(path, [(name, value) for name, value in (*tighter, *flags.items()) if value])


@policy.command("check")
def check_policy(
        path: Annotated[str, typer.Argument(metavar="FILE", help="The policy; its drop-ins are read too.")],
        as_json: Json = False) -> None:
    """Say in plain words what a policy lets in."""
    loaded = load_policy(path)
    sentences = explain(loaded)
    if as_json:
        output.emit("policy check", {"digest": loaded.digest, "policy": loaded.rules, "says": [
            {"text": text, "grave": grave} for text, grave in sentences]})
        return
    for text, grave in sentences:
        if grave:
            output.warn(text)
        else:
            output.tell(text)
    output.table([("digest", loaded.digest)])
    output.good("the policy is well-formed")


@policy.command("init")
def init_policy(
        path: Annotated[str, typer.Argument(metavar="FILE", help="The policy to write, such as policy.toml.")],
        packer: Annotated[list[str] | None, typer.Option(metavar="NAME.pub", help="A packer's key.")] = None,
        releaser: Annotated[list[str] | None, typer.Option(metavar="NAME.pub", help="A releaser's key.")] = None,
        courier: Annotated[list[str] | None, typer.Option(
            metavar="NAME.pub", help="Who signs events of custody and nothing else.")] = None,
        administrator: Annotated[list[str] | None, typer.Option(
            metavar="NAME.pub", help="Whose waivers are taken.")] = None,
        name: Annotated[str, typer.Option(help="Name of the station.")] = "station", as_json: Json = False) -> None:
    """Write a commented policy that `import` takes as it stands, and the station's key if there is none.

    Without --packer the keys of the trust store are the packers.
    """
    words.check_name(name)
    folder, file = os.path.split(os.path.abspath(path))
    given = {"packer": packer or keystore.public_files(keystore.trust_folder()), "releaser": releaser or [],
             "administrator": administrator or [], "courier": courier or []}
    keys: dict[str, list[str]] = {}
    for role, paths in given.items():
        for each in paths:
            keys.setdefault(os.path.abspath(each), []).append(role)
    named = {each: api.load_public(each) for each in keys}
    if os.path.lexists(path):
        raise UsageError("there is a file of this name already", where=path, hint="policies are never replaced")
    places = {each: keystore.add_to_folder(os.path.join(folder, "keys"), found.name, write_public(
        found.name, found.public)) for each, found in named.items()}
    key = os.path.join(folder, name + keystore.PRIVATE_SUFFIX)
    if not os.path.lexists(key):
        identity = generate()
        keystore.write_key_file(key, write_private(name, identity, passphrase=None), secret=True)
        keystore.write_key_file(key.removesuffix(keystore.PRIVATE_SUFFIX) + keystore.PUBLIC_SUFFIX,
                                write_public(name, identity.public), secret=False)
    station = api.load_private(key)
    text = write_policy(stem=os.path.splitext(file)[0], name=name, key=os.path.basename(key), keys=[
        (os.path.relpath(places[each], folder), roles) for each, roles in keys.items()])
    keystore.write_key_file(path, text.encode(), secret=False)
    if as_json:
        output.emit("policy init", {"policy": path, "key": key, "fingerprint": station.public.hex})
        return
    output.table([("policy", path), ("station's key", key), ("fingerprint", station.public.hex),
                  ("in words", station.public.words),
                  ("keys", ", ".join(one.name for one in named.values()) or "none")])
    output.say(f"Bundles for this station are sealed to {os.path.splitext(key)[0]}.pub: give it to the packers.")


def waive(subject: Annotated[str, typer.Argument(metavar="HASH", help="As the refusal named it.")],
          sign: Annotated[str, typer.Option("--sign", metavar="NAME.key", help="An administrator's key.")],
          target: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")],
          allow: Annotated[list[str] | None, typer.Option(
              metavar="CODE", help=f"Which refusal it lifts, once for each: {', '.join(WAIVABLE)}.")] = None,
          reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line.")] = "",
          lasts: Annotated[str, typer.Option(metavar="SPAN", help="How long it holds.")] = "7d",
          add_to: Annotated[str, typer.Option(metavar="FILE", help="Sign this waiver too, as a second one.")] = "",
          key_passphrase_file: KeyPassphrase = None, as_json: Json = False) -> None:
    """Sign an exception from a station's policy, for one bundle and one time."""
    identity = words.load_identity(sign, key_passphrase_file)
    if add_to:
        raw = add_signature(keystore.read_key_file(add_to), identity, subject=subject)
    else:
        raw = make_waiver(identity, subject=subject, allow=allow or (), reason=reason, now=int(time.time()),
                          seconds=parse_span(lasts))
    keystore.write_key_file(target, raw, secret=False)
    if as_json:
        output.emit("waive", {"waiver": target, "signed_by": identity.public.hex})
        return
    said = parse_waiver(raw)
    output.table([("for", said.subject), ("lifts", ", ".join(said.allow)), ("reason", said.reason),
                  ("holds until", output.moment(said.until)), ("signed by", identity.public.hex)])
    output.good(f"signed: {target}")
