"""What is missing is said by the names of its packages; where nobody would read that, it is a failure."""

from __future__ import annotations

import pytest

from tests.devices import equipment
from tests.devices.equipment import TIERS, require


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_that_cannot_run_is_skipped_here_and_fails_under_ci(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equipment, "where", lambda name: None if name == "mcopy" else name)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=rf"{tier} needs mcopy \(Debian: mtools\)"):
        require(tier)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"mtools"):
        require(tier)
