"""What a batch costs a device's queue: launches, copies and waits, counted where the kernels only count."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from memcore.graphs import device_slots  # noqa: E402
from memcore.graphs.growing import GraphSettings, PromptRun  # noqa: E402
from memcore.graphs.growing_device import DeviceGrowingGraphs  # noqa: E402
from memcore.types import Images  # noqa: E402
from tests.support.counted_device import SHAPE, counted_device  # noqa: E402

#: What reads values of a tensor on the host; ``numpy`` cannot, of a tensor on a device.
READS = {"cpu", "item", "tolist", "nonzero", "__bool__", "__int__", "__float__", "__index__"}
#: Operators of torch that put nothing into a device's queue: they allocate, or see memory another way.
FREE = {"empty", "new_empty", "empty_strided", "detach", "alias", "set_", "lift_fresh", "_to_copy"}
SETTINGS = GraphSettings(
    shape=SHAPE, threshold=0.15, grid=(4, 4), min_clique=4, node_limit=10**6, generations=40, expected=40
)


class Launches(TorchDispatchMode):
    """Operators that launch something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not func.is_view and name not in FREE:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


class Waits(TorchFunctionMode):
    """Calls that read values of a tensor on the host, or need to know them, and indices that are copied with a wait."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        index = args[1] if name in ("__getitem__", "__setitem__") else None
        listed = any(
            isinstance(one, list | np.ndarray) for one in (index if isinstance(index, tuple) else (index,))
        )
        if name in READS or listed:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@dataclasses.dataclass
class Cost:
    launches: list[str]
    uploads: int
    waits: int


def cost(monkeypatch: pytest.MonkeyPatch, graphs: DeviceGrowingGraphs, ask: Callable[[], None]) -> Cost:
    """What the calls of ``ask`` cost: kernels, torch's launches, small copies to the device, and waits."""
    waits: list[int] = []
    uploads: list[int] = []

    def fetch(*answers: Any) -> list[Any]:
        waits.append(len(answers))
        return [np.asarray(torch._C._TensorBase.numpy(answer)) for answer in answers]

    right = device_slots.index_on
    monkeypatch.setattr(device_slots, "fetch", fetch)
    monkeypatch.setattr(device_slots, "index_on", lambda *a: (uploads.append(1), right(*a))[1])
    with counted_device() as kernels, Launches() as launches, Waits() as read:
        kernels.clear()
        ask()
    assert not read.names, read.names
    return Cost(kernels + launches.names, len(uploads), len(waits))


@pytest.mark.parametrize("prompts", [1, 9, 64])
@pytest.mark.parametrize("sequential", [False, True])
def test_a_batch_and_all_decisions_on_it(
    prompts: int, sequential: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most eight launches and one wait, however many prompts are due."""
    ids = list(range(prompts))
    runs = [PromptRun(i, 5 * i, 5) for i in ids]
    images = Images(torch.zeros(5 * prompts, *SHAPE, dtype=torch.uint8), np.zeros(5 * prompts, np.bool_))
    with counted_device():
        graphs = DeviceGrowingGraphs(SETTINGS, "cpu")
        graphs.begin(ids)
        graphs.extend(images, runs)

    def batch() -> None:
        graphs.extend(images, runs)
        bounds = graphs.bounds(ids)
        for prompt_id in ids:
            if sequential:
                assert bounds(prompt_id) == (1, 1)
            assert graphs.outcome(prompt_id).edges == 0

    found = cost(monkeypatch, graphs, batch)
    assert found.waits == 1
    assert found.uploads <= 1
    assert len(found.launches) <= 8, found.launches
