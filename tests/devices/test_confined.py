"""The process that reads drives, asked by hand: what it imports, answers, and does not let through."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airbundle.devices.messages import (
    ANSWERS,
    Answer,
    BarredRequest,
    EndedAnswer,
    FoundAnswer,
    ImportRequest,
    LookRequest,
    Request,
    to_hex,
    to_line,
)
from airbundle.devices.workers import Reader, ReadingWorker, reader_of
from tests.devices.post import READER, ROOT, Post

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.station.desk import People


# As it is served, but with standard error, where the interpreter says what it imports.
SERVED = """
import os, sys
from airbundle.cli import confined
def take(answers, parent):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(answers, 1)
    os.dup2(parent, 3)
    os.setsid()
confined._take_streams = take
sys.exit(confined.serve(sys.argv[1:]))
"""


class Asked:
    """Such a process, its standard error in a file."""

    def __init__(self, post: Post) -> None:
        self.said = post.place / "said"
        reader = reader_of(READER, str(post.file))
        words = [reader.in_words() if reader is not None else "", str(post.file)]
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-X", "importtime", "-c", SERVED, *words], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=said, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def ask(self, request: Request) -> list[Answer]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(to_line(request))
        self.process.stdin.flush()
        answers: list[Answer] = []
        for line in self.process.stdout:
            answers.append(ANSWERS.decode(line))
            if isinstance(answers[-1], EndedAnswer):
                break
        return answers

    def imported(self) -> list[str]:
        return [line.rpartition("|")[2].strip() for line in self.said.read_text().splitlines()
                if line.startswith("import time:")]


@pytest.fixture
def post(people: People, tmp_path: Path) -> Post:
    return Post(people, tmp_path)


@pytest.fixture
def asked(post: Post) -> Iterator[Asked]:
    made = Asked(post)
    with made.process as process:
        yield made
        process.kill()


def end(answers: list[Answer]) -> EndedAnswer:
    assert isinstance(answers[-1], EndedAnswer)
    return answers[-1]


def taking(post: Post, *names: str, ticket: int = 7) -> ImportRequest:
    places = [post.mnt / name for name in names]
    return ImportRequest(ticket=ticket, bundle="", places=tuple(to_hex(str(place)) for place in places), folders=tuple(
        to_hex(str(folder)) for place in places for folder in place.iterdir()))


def test_it_imports_nothing_once_it_reads_drives(post: Post, asked: Asked) -> None:
    """Who reads drives need not be able to read this program, and nothing that a drive says loads more of it."""
    post.rule('[gates]\nformats = ["safetensors", "gguf", "json", "text"]\n')
    post.give()
    post.mount("empty")
    post.mount("good", *post.pack("good"))
    three = post.pack("three", drives=3)
    post.mount("one", three[0])
    post.mount("two", three[2])
    post.mount("strange", *post.pack("strange", by=post.people.mallory, released=False))
    post.mount("gated", *post.pack("gated", files={"run.py": b"print(1)\n", "x.pkl": b"\x80\x04]."}))
    damaged = post.mount("damaged", *post.pack("damaged"))
    segment = min(damaged.rglob("0*.abs"))
    segment.write_bytes(segment.read_bytes()[:-50_000] + bytes(50_000))
    assert end(asked.ask(LookRequest(ticket=1, point=to_hex(str(post.mnt / "empty"))))).exit_status == 0
    before = len(asked.imported())
    assert before > 100
    asked.ask(LookRequest(ticket=2, point=to_hex(str(post.mnt / "good"))))
    ends = [end(asked.ask(taking(post, *names))).exit_status for names in (
        ["good"], ["good"], ["one"], ["one", "two"], ["strange"], ["gated"], ["damaged"])]
    assert ends[:6] == [0, 6, 3, 0, 5, 7]
    asked.ask(BarredRequest(ticket=0, node="/dev/sdz", serial="1", what="no"))
    late = asked.imported()[before:]
    assert not late, sorted(set(late))


def test_what_it_finds(post: Post, asked: Asked) -> None:
    volume, = post.pack()
    drive = post.mount("stick", volume)
    found = asked.ask(LookRequest(ticket=3, point=to_hex(str(drive))))
    assert isinstance(found[0], FoundAnswer)
    assert [one.folders for one in found[0].held] == [(to_hex(str(drive / os.path.basename(volume))),)]


def test_a_folder_beside_the_drives_is_not_read(post: Post, asked: Asked) -> None:
    """The question names the drives; a folder elsewhere is out of reach, whoever asks."""
    volume, = post.pack()
    inside = post.mount("stick")
    outside = post.place / "outside"
    outside.mkdir()
    subprocess.run(["cp", "-r", volume, outside], check=True)
    subprocess.run(["chmod", "-R", "a+rX", outside], check=True)
    told = end(asked.ask(ImportRequest(ticket=4, bundle="", places=(to_hex(str(inside)),), folders=(
        to_hex(str(outside / os.path.basename(volume))),))))
    assert told.exit_status == 9
    assert not post.published()


@pytest.mark.parametrize("line", [
    b'{"is":"ended","ticket":7,"exit_status":0}\n', b"{}\n", b"\x00" * 200_000,
    b'{"is":"found","ticket":9,"held":[]}\n',
    b'{"is":"ended","ticket":9,"exit_status":0,"what":"' + b"x" * 9000 + b'"}\n', b'{"is":"look"}\n'])
def test_what_is_no_answer_ends_it(tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ticket, no JSON, too long, an answer to another question."""
    program = tmp_path / "liar"
    program.write_text(f"#!{sys.executable}\nimport os, sys\nsys.stdin.readline()\nos.write(1, {line!r})\n"
                       "sys.stdin.readline()\n")
    program.chmod(0o755)
    monkeypatch.setattr("airbundle.devices.workers._PROGRAM", (str(program),))
    worker = ReadingWorker(Reader("me", os.geteuid(), os.getegid(), ()))
    answers = list(worker.settle(LookRequest(ticket=8, point="")))
    assert [(one.ticket, one.exit_status, one.code) for one in answers if isinstance(one, EndedAnswer)] == [
        (8, 1, "bug")]
    assert worker.busy is None
