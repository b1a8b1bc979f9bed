"""keygen, and the trust store: trust add, list, remove."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.cli.choices import Json
from airbundle.crypto.identities import generate, parse_fingerprint
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.suites import STANDARD, SUITES, suite_by_name
from airbundle.crypto.trust import TrustSet
from airbundle.errors import FormatError, StrangerError, UsageError
from airbundle.media import keystore

trust = typer.Typer(no_args_is_help=True, help="The keys whose bundles are believed here.", add_completion=False)



def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the identity, and of its two files.")],
    folder: Annotated[str, typer.Option("-o", "--output", help="Folder for the two files.")] = ".",
    suite: Annotated[str, typer.Option(help="Suite of algorithms: standard, or cnsa2 where CNSA 2.0 is a duty.")] = (
        STANDARD.name),
    passphrase_file: Annotated[str | None, typer.Option(help="Protect the key with the passphrase in this file "
                                                             "('-': standard input).")] = None,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Leave the private key unprotected.")] = False,
    as_json: Json = False,
) -> None:
    """Make an identity: NAME.key stays secret, NAME.pub is for everybody."""
    try:
        chosen = suite_by_name(suite)
    except FormatError as error:
        known = ", ".join(one.name for one in SUITES)
        raise UsageError(error.what, hint=f"known are: {known}", rule=error.rule) from None
    if passphrase_file and no_passphrase:
        raise UsageError("--passphrase-file and --no-passphrase exclude each other")
    words.check_name(name)
    if not os.path.isdir(folder):
        raise UsageError("is not a folder", where=folder, hint="make it first")
    secret, public = (os.path.join(folder, name + suffix) for suffix in
                      (keystore.PRIVATE_SUFFIX, keystore.PUBLIC_SUFFIX))
    for path in (secret, public):
        if os.path.lexists(path):
            raise UsageError("there is a file of this name already", where=path,
                             hint="keys are never replaced: take another name")
    passphrase = None
    if not no_passphrase:
        passphrase = words.read_passphrase(passphrase_file) if passphrase_file else words.ask_new_passphrase(name)
    identity = generate(chosen)
    keystore.write_key_file(secret, write_private(name, identity, passphrase=passphrase), secret=True)
    keystore.write_key_file(public, write_public(name, identity.public), secret=False)
    if as_json:
        output.emit("keygen", {"private": secret, "public": public, "suite": chosen.name,
                               "fingerprint": identity.public.hex, "words": identity.public.words,
                               "protected": passphrase is not None})
        return
    output.table([("private key", f"{secret}  (keep it secret)"), ("public key", f"{public}  (give it to others)"),
                  ("suite", chosen.name),
                  ("passphrase", "yes" if passphrase else "none: whoever has the file has the key"),
                  ("fingerprint", identity.public.hex), ("in words", identity.public.words)])


@trust.command("add")
def add(
    path: Annotated[str, typer.Argument(metavar="NAME.pub", help="The public key.")],
    name: Annotated[str | None, typer.Option(help="Name in the store; default: the key's own.")] = None,
    fingerprint: Annotated[str | None, typer.Option(
        help="Twelve words or 32 hex digits, heard over another channel.")] = None,
    as_json: Json = False,
) -> None:
    """Believe bundles of this key from now on. Asks for its words, read to you over another channel."""
    found = api.load_public(path)
    store = keystore.trust_folder()
    name = name or found.name
    words.check_name(name)
    api.load_trust()  # the store has to be sound before something is added
    if fingerprint is None:
        fingerprint = _ask_fingerprint()
    if parse_fingerprint(fingerprint) != found.public.fingerprint:
        raise StrangerError("these are not the words of this key", where=path, rule="K-3",
                            hint="do not trust it: the file may have been exchanged on its way")
    known = api.load_trust()
    if known.find(found.public.key_id) is not None:
        raise UsageError("this key is trusted already", where=path)
    TrustSet([*known, NamedIdentity(name, found.public)])  # K-4
    place = keystore.add_to_folder(store, name, write_public(name, found.public))
    if as_json:
        output.emit("trust add", {"name": name, "fingerprint": found.public.hex, "path": place})
    else:
        output.good(f"trusted: {name}")
        output.table([("fingerprint", found.public.hex), ("in words", found.public.words), ("kept in", place)])


def _ask_fingerprint() -> str:
    if not sys.stdin.isatty():
        raise UsageError("no terminal to ask for the fingerprint on",
                         hint="give --fingerprint with the words that its owner read to you")
    output.say("Call the owner of this key, or look at the paper that you got from them, and type the twelve words "
               "(or the 32 hex digits) of its fingerprint. They are not shown here on purpose.")
    return input("fingerprint: ")


@trust.command("list")
def list_keys(as_json: Json = False) -> None:
    """Show whom is believed here."""
    known = list(api.load_trust())
    if as_json:
        output.emit("trust list", [{"name": one.name, "suite": one.public.suite.name, "fingerprint": one.public.hex,
                                    "words": one.public.words} for one in known])
    elif not known:
        output.say(f"nobody yet ({keystore.trust_folder()})")
    else:
        output.table([row for one in known for row in
                      ((one.name, one.public.hex), ("", one.public.words))])


@trust.command("remove")
def remove(which: Annotated[str, typer.Argument(metavar="NAME|FINGERPRINT")], as_json: Json = False) -> None:
    """Believe this key no longer."""
    matches = []
    for path in keystore.public_files(keystore.trust_folder()):
        one = api.load_public(path)
        digits = which.replace(" ", "").replace(":", "").lower()
        if which in (one.name, os.path.basename(path).removesuffix(keystore.PUBLIC_SUFFIX)) or (
                len(digits) >= 8 and one.public.fingerprint.hex().startswith(digits)):
            matches.append((path, one))
    if len(matches) != 1:
        raise UsageError(f"{len(matches)} trusted keys match '{which}'", hint="airbundle trust list shows them")
    path, one = matches[0]
    keystore.remove_file(path)
    if as_json:
        output.emit("trust remove", {"name": one.name, "fingerprint": one.public.hex})
    else:
        output.good(f"no longer trusted: {one.name} ({one.public.hex})")
