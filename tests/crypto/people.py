"""Identities with fixed seeds, and their halves one by one."""

from __future__ import annotations

import dataclasses

import pytest

from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
from airbundle.crypto.suites import STANDARD, SUITES, Suite

both_suites = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name, indirect=True)
"""Runs a test with alice, bob and carol of each suite; without it they are of `standard`."""


def identity(number: int, suite: Suite = STANDARD) -> PrivateIdentity:
    return PrivateIdentity(suite, bytes([number]) * suite.seeds_size)


def fields(suite: Suite) -> list[str]:
    return [half.field for half in suite.halves]


def half_of(public: PublicIdentity, field: str) -> bytes:
    return public.keys[fields(public.suite).index(field)]


def with_halves(public: PublicIdentity, **keys: bytes) -> PublicIdentity:
    """The same identity with other keys in some places."""
    named = dict(zip(fields(public.suite), public.keys, strict=True)) | keys
    return dataclasses.replace(public, keys=tuple(named.values()))
