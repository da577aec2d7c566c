"""Stored inputs of the fuzzers: what failed once does not fail again, and no case needs more than its own input."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.target import CORPUS, TARGETS, Target, load
from fuzz.worker import try_case


@pytest.fixture(scope="module", params=TARGETS)
def fuzzer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Target]:
    return request.param, load(request.param, tmp_path_factory.mktemp(request.param))


def test_every_stored_input_passes(fuzzer: tuple[str, Target]) -> None:
    name, target = fuzzer
    paths = sorted((CORPUS / name).iterdir())
    assert len(paths) >= 6
    failed = {path.name: found for path in paths if (found := try_case(target, path.read_bytes())[1])}
    assert failed == {}


def test_any_bytes_are_an_input(fuzzer: tuple[str, Target]) -> None:
    """What libFuzzer makes of them has no form that a fuzzer could count on."""
    _, target = fuzzer
    for data in (
        b"",
        b"\n",
        b"\0",
        b"\xff" * 500,
        b"a.tar\n",
        b'{"command": 1, "files": []}',
        b"{}\n",
        b"image\n",
    ):
        assert try_case(target, data)[1] is None


def test_the_corpus_is_small() -> None:
    files = [path for path in Path(CORPUS).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
