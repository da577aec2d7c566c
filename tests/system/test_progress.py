"""The progress line counts images that were made, and its rate is theirs."""

from __future__ import annotations

import io
import re

import pytest

from memcore.system import progress
from memcore.system.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress(1000, "audit run", done=200, stream=stream)
    shown.advance(0, kept=100)  # a checkpoint of an earlier command
    clock[0] += 10
    shown.advance(50)
    shown.advance(0, spared=400)  # a prompt that was decided early
    clock[0] += 10
    shown.advance(50, spared=100)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "audit run: 350 of 1000 images, 5.0 a second, 130 s left",
        "audit run: 400 of 500 images, 5.0 a second, 20 s left",
    ]


def test_failed_prompts_are_no_images(clock: list[float]) -> None:
    """N-W11: "5649 a second" of a server that was down."""
    stream = io.StringIO()
    shown = Progress(1000, "audit run", stream=stream)
    clock[0] += 10
    shown.advance(0, spared=1000)
    shown.close()
    assert stream.getvalue() == "audit run: 0 of 0 images, 0.0 a second\n"


def test_a_try_that_is_taken_back_was_made_nevertheless(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress(100, "audit run", stream=stream)
    clock[0] += 5
    shown.advance(40)
    shown.advance(0, kept=-40)
    clock[0] += 5
    shown.advance(10)
    assert stream.getvalue() == "audit run: 10 of 100 images, 5.0 a second, 18 s left\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_the_same() -> None:
    pytest.importorskip("tqdm", reason="the extra audit is not installed")
    stream = Terminal()
    shown = Progress(1000, "audit run", done=200, stream=stream)
    shown.advance(0, kept=300)
    shown.advance(0, spared=450)
    shown.advance(50)
    bar = shown._bar
    assert (bar.n, bar.total, bar.initial) == (550, 550, 500)
    shown.close()
    assert re.search(r"550/550", stream.getvalue())


def test_nothing_is_said_of_nothing() -> None:
    stream = io.StringIO()
    Progress(10, "audit run", done=10, stream=stream).close()
    Progress(10, "audit run", stream=stream, quiet=True).close()
    assert not stream.getvalue()
