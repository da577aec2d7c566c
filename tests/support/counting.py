"""Count which files of a run are read, in this process and in workers: each reading is a line of the file $READINGS."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from memcore.storage.local import LocalStorage
from tests.support.synthetic import SyntheticSampler

_read, _open = LocalStorage.read, LocalStorage.open


def count_readings() -> None:
    """Let this process count from now on."""

    def read(storage: LocalStorage, name: str) -> bytes:
        _record(name)
        return _read(storage, name)

    def open(storage: LocalStorage, name: str) -> IO[bytes]:
        _record(name)
        return _open(storage, name)

    LocalStorage.read, LocalStorage.open = read, open  # type: ignore[assignment, method-assign]


def _record(name: str) -> None:
    if path := os.environ.get("READINGS"):
        with Path(path).open("a") as file:
            file.write(f"{os.getpid()} {name}\n")


def readings(path: Path, name: str) -> Counter[int]:
    """Return how often each process read the file ``name``."""
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(int(line.split()[0]) for line in lines if line.split()[1] == name)


class CountedPrompts:
    """Prompts that count how often they are iterated over."""

    def __init__(self, prompts: list[str]) -> None:
        self.prompts = prompts
        self.passes = 0

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return iter(self.prompts)


class CountingSampler(SyntheticSampler):
    """A sampler that lets its process count, also a worker, once it is made."""

    def __init__(self) -> None:
        super().__init__()
        count_readings()
