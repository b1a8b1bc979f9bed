"""Paths and texts: what is refused by which rule, and what tables of Unicode may not decide (P-1 to P-6, E-4)."""

from __future__ import annotations

import pytest

from airbundle.errors import FormatError
from airbundle.format.names import SafePath, check_paths, check_public_text, require_assigned, shown

UNASSIGNED = "\u0378"
REFUSED = {
    "": "P-1", "/a": "P-1", "a//b": "P-1", "a/": "P-1", ".": "P-1", "a/../b": "P-1", "a\u0301": "P-1",
    "a\\b": "P-2", "a:b": "P-2", "a*": "P-2", "a?": "P-2", 'a"': "P-2", "a<": "P-2", "a>": "P-2", "a|": "P-2",
    "a\0b": "P-2", "a\nb": "P-2", "a\x7f": "P-2", "a\x85": "P-2", "a\u2028b": "P-2", "a\u2029b": "P-2",
    "a\ud800": "P-2",
    **{f"a{chr(mark)}": "P-2" for mark in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
    "a.": "P-3", "a ": "P-3", "a./b": "P-3", "CON": "P-3", "con.txt": "P-3", "CON .txt": "P-3", "d/Lpt9": "P-3",
    "com\u00b9": "P-3", "CONIN$": "P-3", "nul.tar.gz": "P-3",
    "a" * 256: "P-4", "\u00e9" * 128: "P-4", "/".join("a" * 65): "P-4", "/".join(["a" * 200] * 6): "P-4",
}
TAKEN = ("a", "a b", "con1", "com10", "a" * 255, "/".join("a" * 64), "\u00e9", "\U0001f468\u200d\U0001f469", "\ue000",
         UNASSIGNED, ".a", "...a", "~", "a\u00a0b")


@pytest.mark.parametrize("path", REFUSED)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(FormatError) as caught:
        SafePath.parse(path)
    assert caught.value.rule == REFUSED[path]


@pytest.mark.parametrize("path", TAKEN)
def test_paths_that_are_taken(path: str) -> None:
    check_paths([SafePath.parse(path)])


@pytest.mark.parametrize("text", ["a\x1b", "a\u200d", "\ufeff", "a\u00ad", "\ue000", "\u2028", "a\u00a0b", "\u3000",
                                  "a\u0301", "a" * 257, "\ud800"])
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="E-4"):
        check_public_text(text)


def test_what_is_not_assigned_yet() -> None:
    """A reader takes it, since newer tables may know it; a writer does not, since they may fold or compose it."""
    assert check_public_text(UNASSIGNED) == UNASSIGNED
    with pytest.raises(FormatError, match="P-6"):
        require_assigned("a" + UNASSIGNED)
    assert require_assigned("a\U0001f468") == "a\U0001f468"


def test_a_path_that_comes_twice_is_no_folder() -> None:
    with pytest.raises(FormatError, match="twice"):
        check_paths([SafePath.parse("a"), SafePath.parse("a")])
    with pytest.raises(FormatError, match="also a folder"):
        check_paths([SafePath.parse("a"), SafePath.parse("a/b")])


def test_what_could_steer_a_terminal_is_escaped_and_nothing_else() -> None:
    assert shown("Übung, 模型, \U0001f600 and a space") == "Übung, 模型, \U0001f600 and a space"
    assert shown("\u00e9\x1b[2J\r\n\u202e\u200f\u061c\u2028\xa0\ud800") == (
        "\u00e9\\x1b[2J\\r\\n\\u202e\\u200f\\u061c\\u2028\\xa0\\ud800")
