"""Options and inputs that the suites share. Everything is timed in one thread, after its answer was asserted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.bench import kinds
from memcore.bench.peers import missing
from memcore.bench.timing import one_thread


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("memcore")
    group.addoption("--full", action="store_true", help="500 images of 512x512x3 instead of 64 of 256x256x3")
    group.addoption("--image-cache", type=Path, help="folder in which generated images are kept")


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def make_images(request: pytest.FixtureRequest, full: bool) -> Callable[[str], NDArray[np.uint8]]:
    """Return a function that makes images of a kind; only the last kind stays in memory, since one takes up to 393 MB."""
    cache = request.config.getoption("--image-cache")
    n, size = (500, 512) if full else (64, 256)
    kept: dict[str, NDArray[np.uint8]] = {}

    def get(kind: str) -> NDArray[np.uint8]:
        if kind not in kept:
            kept.clear()
            kept[kind] = kinds.images(kind, n, size, cache=cache)
        return kept[kind]

    return get


@pytest.fixture
def needs() -> Callable[[str], None]:
    """Return a function that skips without a package, with the line that installs it."""

    def check(module: str) -> None:
        absent = missing(module)
        if absent is not None:
            pytest.skip(absent)

    return check
