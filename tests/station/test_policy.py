"""The policy file: typed, unknown keys refused, drop-ins, and flags that only make it stricter."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_public
from airbundle.errors import UsageError
from airbundle.station.policy import load_policy
from airbundle.station.policy_text import TEMPLATE, explain
from tests.station.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", [
    "unknown = 1\n", "[bundle]\nsuit = 'cnsa2'\n", "[bundle]\nsuite = 'rot13'\n", "[bundle]\nmost-files = '7'\n",
    "[bundle]\nlargest-size = 'big'\n", "[thresholds]\npacker = 0\n", "[[keys]]\nfile = 'keys/alice.pub'\nroles = []\n",
    "[[keys]]\nfile = 'keys/alice.pub'\nroles = ['packer']\n", "[[keys]]\nfile = 'keys/none.pub'\nroles = ['packer']\n",
    "[[series]]\nname = 'a'\npackers = ['rita']\n", "[clock]\nskew = '1w'\n", "[publish]\nlayout = 'zip'\n", "= 1\n",
    "version = 2\n", "[bundle]\nlongest-life = '1'\n", "[gates]\nallow-globals = ['os.system']\n",

    "[gates]\nscanners = ['none']\n",
    "[gates]\nallow_globals = []\n", '[publish]\nhook = ["a\\u0000b"]\n', '[publish]\nroot = "\\u0000"\n',
    "[bundle]\nsuite = 'cnsa2'\n[bundle]\n", "\xff\n"])
def test_what_is_not_a_policy(desk: Desk, text: str) -> None:
    desk.policy()
    desk.rule(text)
    with pytest.raises(UsageError):
        desk.policy()


def test_drop_ins_come_in_order_and_lists_grow(desk: Desk) -> None:
    desk.rule('[bundle]\nmarkings = ["A"]\nmost-files = 5\n')
    desk.rule('[bundle]\nmarkings = ["B"]\nmost-files = 3\n')
    (desk.high / "policy.d" / ".99.toml").write_text("not read")
    (desk.high / "policy.d" / "99.txt").write_text("not read")
    rules = desk.policy().rules.bundle
    assert (rules.markings, rules.most_files) == (("A", "B"), 3)


def test_flags_make_it_stricter_and_never_looser(desk: Desk) -> None:
    desk.rule('[bundle]\nsuite = "cnsa2"\nlargest-size = "10G"\n[[series]]\nname = "lla*"\nlargest-step = 3\n')
    loose = desk.policy(("suite", "standard"), ("largest-size", "1T"))
    assert loose.rules.bundle == desk.policy().rules.bundle
    strict = desk.policy(("largest-size", "1G"), ("series", "llama"), ("altered-blocks", "refuse"))
    assert (strict.rules.bundle.largest_size, strict.rules.bundle.series_required) == ("1G", True)
    assert [(table.name, table.largest_step) for table in strict.rules.series] == [("llama", 3)]
    assert strict.digest != desk.policy().digest
    for name, value in (("altered-blocks", "accept"), ("series", "other"), ("suite", "rot13"), ("gates", "none")):
        with pytest.raises(UsageError):
            desk.policy((name, value))
    desk.rule('[bundle]\naltered-blocks = "accept"\n')
    assert desk.policy(("altered-blocks", "refuse")).rules.bundle.altered_blocks == "refuse"


def test_the_environment_makes_it_stricter(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = desk.pack(sequence=1)
    monkeypatch.setenv("AIRBUNDLE_SUITE", "cnsa2")
    assert main(["import", *volumes, "--policy", str(desk.file), "--progress", "none"]) == 6
    monkeypatch.setenv("AIRBUNDLE_SUITE", "standard")
    assert main(["import", *volumes, "--policy", str(desk.file), "--largest-size", "1K", "--progress", "none"]) == 6
    assert main(["import", *volumes, "--policy", str(desk.file), "--progress", "none"]) == 0


def test_init_writes_one_that_import_takes_as_it_stands(desk: Desk, tmp_path: Path) -> None:
    keys = desk.high / "keys"
    path = tmp_path / "new" / "policy.toml"
    path.parent.mkdir()
    assert main(["policy", "init", str(path), "--packer", str(keys / "alice.pub"), "--releaser", str(keys / "rita.pub"),
                 "--administrator", str(keys / "rita.pub")]) == 0
    policy = load_policy(str(path))
    assert [(holder.identity.name, holder.roles) for holder in policy.holders] == [
        ("alice", ("packer",)), ("rita", ("releaser", "administrator"))]
    assert policy.rules.thresholds.releaser == 1
    assert policy.station_key().public.key_id not in {holder.key_id for holder in policy.holders}
    assert main(["policy", "init", str(path)]) == 2
    assert main(["policy", "check", str(path)]) == 0


TABLES = {"allow"}  # are written out in comments


def test_the_template_has_every_key(desk: Desk) -> None:
    """Each key of each table stands in the template, with the value that it has without the template."""
    bare = desk.place / "bare.toml"
    bare.write_text("")
    plain = load_policy(str(bare)).rules
    assert desk.policy().rules.bundle == plain.bundle
    assert desk.policy().rules.gates == plain.gates
    for table in ("station", "thresholds", "bundle", "clock", "devices", "watch", "publish", "audit"):
        part = TEMPLATE.split(f"[{table}]")[1].split("\n[")[0]
        written = set(re.findall(r"^([a-z-]+) =", part, re.MULTILINE))
        assert written == {name.replace("_", "-") for name in getattr(plain, table).__struct_fields__} - TABLES, table


def test_in_plain_words(desk: Desk) -> None:
    def said(start: str) -> list[bool]:
        return [grave for text, grave in explain(desk.policy()) if text.startswith(start)]

    assert said("One of alice (") == [False]
    assert said("rita (") == [False]
    for rule, start in (
            ("[thresholds]\nreleaser = 2\n", "Nothing comes in: 2 keys have to sign as releaser, and 1 can."),
            ("[thresholds]\nreleaser = 0\n", "Whoever packs decides alone"),
            ('[gates]\nallow-globals = ["a.b"]\n', "Pickles may also call a.b."),
            ('[gates]\nunexamined = ["*.x"]\n', "Let in without being examined: *.x."),
            ('[gates]\nformats = ["code"]\n', "Files may be safetensors, gguf, json, text, code."),
            ('[bundle]\naltered-blocks = "accept"\n', "Blocks that somebody altered are put right")):
        desk.rule(rule)
        assert said(start) == [True], start


def test_an_error_names_the_drop_in(desk: Desk) -> None:
    desk.rule("[bundle]\nmost-files = 3\n")
    desk.rule("[bundle]\nmost-flies = 3\n")
    with pytest.raises(UsageError, match=r"01\.toml: .*most-flies"):
        desk.policy()


def test_two_packers_of_one_name(desk: Desk) -> None:
    """A series is bound to a name, which stands in the key file and is whatever its owner likes."""
    (desk.high / "keys" / "again.pub").write_bytes(write_public("bob", desk.people.mallory.public))
    desk.rule('[[keys]]\nfile = "keys/again.pub"\nroles = ["packer"]\n')
    with pytest.raises(UsageError, match="same name"):
        desk.policy()


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
def test_a_policy_in_a_folder_whose_name_is_no_text(desk: Desk) -> None:
    """Where content is published stands in the ledger and in receipts, which are Unicode."""
    strange = os.path.join(str(desk.place), os.fsdecode(b"high-\xff"))
    os.rename(desk.high, strange)
    with pytest.raises(UsageError, match="Unicode"):
        load_policy(os.path.join(strange, "policy.toml"))
