"""Each fuzzer finds a fault that is planted, and names the case, which fails again from its name alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuzz.target import Case, load
from fuzz.worker import hunt, try_case
from memcore import interop
from memcore.backends import cpu
from memcore.images import jpeg
from memcore.storage import digests
from tests.support import c_abi

Plant = Callable[[pytest.MonkeyPatch], None]


def _differential(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sum is too large by 1 where tiles are 3 pixels wide."""
    right = cpu.tiled_l2_ssd

    def wrong(images: Any, other: Any, tile: tuple[int, int], *more: Any) -> Any:
        ssd = right(images, other, tile, *more)
        ssd[..., -1, -1] += tile[1] == 3
        return ssd

    monkeypatch.setattr(cpu, "tiled_l2_ssd", wrong)


def _layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of bytes is left out."""
    monkeypatch.setattr(interop, "_describe", lambda dtype: (dtype.name, None))


def _images(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel of a JPEG is another one."""
    right = jpeg._pixels

    def wrong(library: Any, data: bytes, out: Any) -> Any:
        pixels = np.array(right(library, data, out))
        pixels[-1, -1, 0] ^= 1
        return pixels

    monkeypatch.setattr(jpeg, "_pixels", wrong)


def _runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file is an error that no command expects."""
    monkeypatch.setattr(digests, "_damaged", lambda name, *more: KeyError(name))


def _capi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours are found, and one number too many is written."""
    right = c_abi.LIBRARY.memcore_knn

    def wrong(queries: Any, corpus: Any, k: int, ssd: int, indices: int, capacity: int, threads: int) -> int:
        status: int = right(queries, corpus, k, ssd, indices, capacity, threads)
        if status == 0:
            c_abi.ctypes.c_int64.from_address(indices).value += 1
        return status

    monkeypatch.setattr(c_abi.LIBRARY, "memcore_knn", wrong)


PLANTS: dict[str, Plant] = {
    "differential": _differential,
    "layouts": _layouts,
    "images": _images,
    "runs": _runs,
    "capi": _capi,
}
#: Cases in which each must be found; some dozens do.
CASES = 400


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", PLANTS)
def test_it_is_found_and_found_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = load(name, tmp_path)
    with monkeypatch.context() as planted:
        PLANTS[name](planted)
        for number in range(CASES):
            result = hunt(name, target, 7, iter([number]))
            if result.failures:
                break
        (failure,) = result.failures
        assert failure.case == f"{name}:7:{number}"
        data = Case.parse(failure.case).make(target)
        assert try_case(target, data)[1] is not None
    assert try_case(target, data)[1] is None, "what was planted is what failed"
