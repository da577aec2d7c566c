"""A fuzzer whose cases do what a case must not do, chosen by their first byte."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np


class Toy:
    def __init__(self, folder: Path) -> None:
        self._held: list[bytes] = []

    def make(self, rng: np.random.Generator) -> bytes:
        return rng.bytes(1)

    def check(self, data: bytes) -> str:
        kind = data[0]
        if kind == 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == 1:
            threading.Event().wait()
        if kind == 2:
            raise KeyError("x")
        if kind == 3:
            self._held.append(b"x" * (256 << 20))
        return "odd" if kind % 2 else "even"


class Crashing(Toy):
    """The third case crashes."""

    def make(self, rng: np.random.Generator) -> bytes:
        return bytes([0 if _is_third(rng) else 4])


class Hanging(Toy):
    """The third case waits for ever."""

    def make(self, rng: np.random.Generator) -> bytes:
        return bytes([1 if _is_third(rng) else 4])


class Raising(Toy):
    """Every case raises."""

    def make(self, rng: np.random.Generator) -> bytes:
        return b"\x02"


def _is_third(rng: np.random.Generator) -> bool:
    """Whether a case's generator is that of seed 5 and number 2."""
    return bool(rng.bytes(8) == np.random.default_rng([5, 2]).bytes(8))
