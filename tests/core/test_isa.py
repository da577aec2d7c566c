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


@pytest.mark.skipif(
    "amxint8" not in isa.available(), reason="the system refuses tiles only where there are some"
)
def test_without_leave_to_use_the_tiles_the_next_set_is_taken() -> None:
    """Linux refuses them to a process with a signal stack that could not hold them."""
    code = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("memory", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)
stack = Stack(ctypes.addressof(memory), 0, 8192)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
import numpy, memcore
images = numpy.eye(48, dtype=numpy.uint8).reshape(3, 16, 16, 3)
print(memcore.isa.active(), memcore.pairwise_tiled_l2(images, output="ssd").max())
"""
    environment = {k: v for k, v in os.environ.items() if k != "MEMCORE_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["avx512vnni", "4"], done.stderr
