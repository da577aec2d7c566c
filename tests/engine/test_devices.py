"""Workers of this machine are spread over its GPUs: which each may see is decided without one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from memcore.engine.launchers.base import Event, Resources
from memcore.engine.launchers.local import make_pool
from memcore.engine.task import Counts, Identity
from memcore.system.gpus import visible_gpus
from tests.support.toy_job import SquareFolder

VISIBLE = "CUDA_VISIBLE_DEVICES"


class SeeingWork:
    """Says, as its identity, which GPUs its process may see and who it is."""

    def prepare(self, threads: int | None) -> Identity:
        return Identity(os.environ.get(VISIBLE, "all"), {"process": str(os.getpid())})

    def run(self, folder: SquareFolder, *others: Any) -> Counts:
        raise NotImplementedError


def ready(pool: Any, count: int, kind: str = "ready") -> list[Event]:
    found: list[Event] = []
    deadline = time.monotonic() + 120
    while len(found) < count and time.monotonic() < deadline:
        found += [event for event in pool.events() if event.kind == kind]
    return found


@pytest.mark.parametrize("before", [None, "5"])
def test_each_worker_sees_the_gpu_with_the_fewest(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VISIBLE, before)
    pool = make_pool(SeeingWork(), Resources(threads=1, devices=("0", "GPU-b")))
    try:
        for _ in range(3):
            pool.start()
        first = {event.worker: event.value for event in ready(pool, 3)}
        assert {number: identity.fingerprint for number, identity in first.items()} == {
            0: "0",
            1: "GPU-b",
            2: "0",
        }
        os.kill(int(first[1].describe["process"]), signal.SIGKILL)
        assert [event.worker for event in ready(pool, 1, "died")] == [1]
        pool.start()  # in the place of the one that was killed
        assert [(event.worker, event.value.fingerprint) for event in ready(pool, 1)] == [(3, "GPU-b")]
    finally:
        pool.close()
    assert os.environ.get(VISIBLE) == before


def test_without_gpus_to_spread_over_a_worker_sees_what_its_launcher_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VISIBLE, "3")
    pool = make_pool(SeeingWork(), Resources(threads=1))
    try:
        pool.start()
        assert [event.value.fingerprint for event in ready(pool, 1)] == ["3"]
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("device", "count", "named", "expected"),
    [
        ("cuda", 2, None, ("0", "1")),
        ("cuda", 2, "4, GPU-b", ("4", "GPU-b")),
        ("cuda", 1, "4,9", ("4",)),  # CUDA stops at the first name that is none
        ("cuda", 0, None, ()),
        ("cuda:1", 2, None, ()),
        ("cpu", 2, None, ()),
    ],
)
def test_what_a_device_stands_for(
    device: str, count: int, named: str | None, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.delenv(VISIBLE, raising=False)
    if named is not None:
        monkeypatch.setenv(VISIBLE, named)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert visible_gpus(device) == expected


@pytest.mark.parametrize(
    ("options", "workers", "devices"),
    [
        ({}, 2, ("0", "1")),
        ({"workers": 1}, 1, ("0", "1")),
        ({"workers": 4}, 4, ("0", "1")),
        ({"device": "cuda:1"}, 1, ()),
    ],
)
def test_an_audit_takes_one_worker_a_gpu(
    options: dict[str, Any],
    workers: int,
    devices: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    from memcore.audit import run_audit
    from memcore.runs.config import Config

    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    asked: list[tuple[int, Resources]] = []

    def launch(job: Any, launcher: str, resources: Resources, count: int, part: Any) -> None:
        asked.append((count, resources))

    monkeypatch.setattr(run_audit, "_launch", launch)
    config = Config(
        source="custom",
        sampler="tests.support.synthetic:SyntheticSampler",
        device=options.pop("device", "cuda"),
        shard_prompts=1,
    )
    run_audit.audit(tmp_path / "run", config, prompts=list("abcdef"), quiet=True, **options)
    assert [(count, resources.gpus, resources.devices) for count, resources in asked] == [
        (workers, 1, devices)
    ]
