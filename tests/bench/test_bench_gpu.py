"""``memcore bench --gpu``: what can be held of it without a device, on CPU tensors and the host's clock."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

import memcore
from memcore.backends import gpu as backend
from memcore.backends import gpu_clique, reference
from memcore.bench import collect
from memcore.cli import main
from memcore.errors import ArgumentValueError

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("memcore.bench.gpu")

NO_GPU = not backend.available()[0]


def one_call(call: Any, repeats: int) -> float:
    """A clock that calls once and reads a millisecond."""
    call()
    return 0.001


def test_int8_product_of_a_library_and_its_epilogue() -> None:
    images = np.random.default_rng(1).integers(0, 256, (17, 8, 8, 3), dtype=np.uint8)
    images[0], images[1] = 0, 255
    found = gpu.by_int_mm(gpu._tiles(torch.from_numpy(images), (4, 4)))
    expected = reference.tiled_l2_ssd(images[None], None, (4, 4))[0]
    assert found.tolist() == expected.astype(np.int64).tolist()


def test_rows_of_every_part() -> None:
    rows = collect("dense", gpu._dense(True, "cpu", "host", one_call, 20, 32))
    rows += collect("graph", gpu._graph(True, "cpu", "host", one_call, 20, 32))
    rows += collect("knn", gpu._knn(True, "cpu", "host", one_call, (3, 200)))
    measured = [row for row in rows if row["value"]]
    assert {row["section"] for row in measured} == {"dense", "graph", "knn"}
    assert not any(row["refused"] for row in rows)
    for row in measured:
        assert row["isa"] == "host"
        assert row["rounds"] == 5
        assert row["value"]["median"] == pytest.approx(1)
    assert [row["largest_error"] for row in measured if "int8" in row["name"]] == [0.0]
    json.dumps(rows)


def test_a_wrong_answer_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = memcore.pairwise_tiled_l2
    monkeypatch.setattr(memcore, "pairwise_tiled_l2", lambda *a, **k: right(*a, **k) + 1)
    (row,) = collect("dense", gpu._dense(True, "cpu", "host", one_call, 20, 32))
    assert row["refused"]
    assert "nothing was timed" in row["note"]


@pytest.mark.skipif(not NO_GPU, reason="there is a CUDA device: pytest -m gpu runs the benchmark on it")
def test_without_a_device_it_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--gpu", "--quick"]) == 1
    assert backend.available()[1] in capsys.readouterr().out
    assert main(["bench", "--gpu", "--quick", "--json"]) == 1
    machine, row = json.loads(capsys.readouterr().out)["results"]
    assert (machine["section"], machine["device"], row["refused"]) == ("machine", None, True)
    assert row["note"] == backend.available()[1]


def test_stored_images_are_no_part_of_a_device() -> None:
    with pytest.raises(ArgumentValueError, match="part must be one of dense, graph, clique, knn on a device"):
        gpu.run_all(True, ["stored"])


class StandInEvent:
    """A CUDA event's interface on the host's clock: what ``by_events`` calls, not what it measures."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at_s = 0.0

    def record(self) -> None:
        self.at_s = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: StandInEvent) -> float:
        return (end.at_s - self.at_s) * 1000


def test_cliques_and_the_events_clock_with_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clique part's own code, on a stand-in for the device: the CPU solver answers, the host's clock runs."""
    solved: dict[int, Any] = {}

    def max_cliques(bits: Any, *, min_size: int, node_limit: int) -> Any:
        if bits.data_ptr() not in solved:
            n = bits.shape[1]
            found = memcore.max_cliques(gpu_clique.unpack(bits, n).numpy(), node_limit=node_limit)
            chosen = torch.zeros(len(found), n, dtype=torch.bool)
            for row, clique in zip(chosen, found, strict=True):
                row[list(clique.members)] = True
            bounds = torch.tensor([[c.lower, c.upper, c.proven, c.nodes] for c in found])
            solved[bits.data_ptr()] = pack_rows(chosen), bounds
        return solved[bits.data_ptr()]

    monkeypatch.setattr(gpu_clique, "available", lambda: (True, ""))
    monkeypatch.setattr(gpu_clique, "max_cliques", max_cliques)
    monkeypatch.setattr(torch.cuda, "Event", StandInEvent)
    (row,) = collect("clique", gpu._clique(True, "cpu", "stand-in", gpu.by_events))
    assert not row["refused"], row
    assert row["rounds"] == 5
    assert row["value"]["median"] > 0


def pack_rows(rows: Any) -> Any:
    """(..., n) bool -> (..., W) int32."""
    padded = torch.nn.functional.pad(rows, (0, -rows.shape[-1] % 32))
    return torch.from_numpy(np.packbits(padded.numpy(), axis=-1, bitorder="little").view(np.int32))
