from __future__ import annotations

from tests.station.conftest import people as people  # noqa: PLC0414 - a fixture is found by its name here
