"""Other users of the machine that packs: folders of keys and journals under a careless umask."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from airbundle.media import keystore, state
from airbundle.transfer.journal import Head

if TYPE_CHECKING:
    from pathlib import Path


def test_keys_in_what_a_debugger_shows() -> None:
    head = Head("plan", "00", "c2VjcmV0", "", 0, "c2VjcmV0", 0)
    assert "c2Vj" not in f"{head} {head!r}"


@pytest.mark.parametrize("umask", [0, 0o002, 0o022])
def test_nobody_else_can_exchange_the_trust_store_or_the_journals(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "local" / "state"))
    before = os.umask(umask)
    try:
        keystore.add_to_folder(keystore.trust_folder(), "k", b"{}")
        state.state_folder("sent", "00")
    finally:
        os.umask(before)
    folders = [place for place, _, _ in os.walk(tmp_path) if place != str(tmp_path)]
    assert len(folders) == 8
    assert {stat.S_IMODE(os.stat(folder).st_mode) for folder in folders} == {0o700}
