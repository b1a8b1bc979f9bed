"""Sizes and spans of time as people write them."""

from __future__ import annotations

import pytest

from airbundle.errors import UsageError
from airbundle.format.quantities import parse_size, parse_span


@pytest.mark.parametrize(("text", "seconds"), [
    ("10s", 10), ("1 s", 1), ("30m", 1800), ("12h", 43_200), ("1h", 3600), ("90d", 7_776_000), (" 2d ", 172_800)])
def test_a_span_in_seconds(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "10", "-1d", "1.5h", "1234567s", "1w", "10 s 5"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(UsageError):
        parse_span(text)


@pytest.mark.parametrize(("text", "size"), [
    ("4096", 4096), ("1K", 1024), ("1.5k", 1536), ("128M", 128 << 20), ("512 GiB", 512 << 30), ("2T", 2 << 40)])
def test_a_size_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.", "1P", "999999999T"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)
