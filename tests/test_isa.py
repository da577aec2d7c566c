"""Dispatch: what runs is what was asked for, and nothing asked for is ignored."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from memcore import _core, errors, isa


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_scalar_is_always_there_and_the_best_is_taken() -> None:
    assert isa.available()[0] == "scalar"
    assert isa.available() == tuple(_core.isa_available())
    if "MEMCORE_ISA" not in os.environ:
        assert isa.active() == isa.available()[-1]


@pytest.mark.parametrize("name", isa.available())
def test_using_nests_and_restores(name: str) -> None:
    before = isa.active()
    with isa.using(name) as entered:
        assert entered == isa.active() == name
        with isa.using("scalar"):
            assert isa.active() == "scalar"
        assert isa.active() == name
    assert isa.active() == before
    with pytest.raises(ZeroDivisionError), isa.using(name):
        _ = 1 / 0
    assert isa.active() == before


def test_an_override_holds_for_its_thread_only() -> None:
    seen: list[str] = []
    before = isa.active()
    with isa.using("scalar"):
        thread = threading.Thread(target=lambda: seen.append(isa.active()))
        thread.start()
        thread.join()
    assert seen == [before]


@pytest.mark.parametrize("name", ["avx1024", "", "AVX2", "scalar "])
def test_an_unknown_name_says_what_is_available(name: str) -> None:
    with pytest.raises(errors.IsaError, match="available: scalar"), isa.using(name):
        pass
    with pytest.raises(ValueError):
        _core.isa_set(name)


@pytest.mark.parametrize("name", isa.available())
def test_the_environment_chooses(name: str) -> None:
    done = run("from memcore import isa; print(isa.active())", MEMCORE_ISA=name)
    assert done.stdout.strip() == name, done.stderr


def test_a_wrong_environment_is_an_error_at_first_use_not_ignored() -> None:
    code = """
import numpy as np
from memcore import _core, errors, isa
try:
    isa.active()
except errors.IsaError as e:
    print("isa:", e)
try:
    _core.knn(np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.uint8), 1)
except ValueError as e:
    print("knn:", e)
with isa.using("scalar"):
    print(isa.active())
"""
    done = run(code, MEMCORE_ISA="sse9")
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("MEMCORE_ISA=sse9" in line and "available: scalar" in line for line in lines[:2])
    assert lines[2] == "scalar"


def test_the_active_table_really_differs() -> None:
    """The ceiling of each set of kernels is its own: a build that linked one unit twice would show here."""
    peaks = {}
    for name in isa.available():
        with isa.using(name):
            peaks[name] = max(_core.multiply_add_peak(200_000) for _ in range(3))
    assert list(peaks.values()) == sorted(peaks.values())
