"""Disks that are full or broken, and power cuts, at every single call that writes a run."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from memcore.audit import audit, shard
from memcore.errors import StoreError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.system import atomic_files
from tests.support.faulty_disk import FAULTS, FaultyDisk, PowerCut, QuickDisk, UnpluggedDisk
from tests.support.run_files import content
from tests.support.synthetic import PROMPTS, SyntheticSampler

CONFIG = Config(source="custom", generations=7, batch_size=7, shard_prompts=2, min_clique=4)
SOME = PROMPTS[:4]  # two memorised ones, one of each in a shard


def run(path: Path) -> RunFolder:
    return audit(path, CONFIG, sampler=SyntheticSampler(fail="a green hill"), prompts=SOME, quiet=True)


@pytest.fixture(autouse=True)
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each prompt, so that its writes fail too."""
    monkeypatch.setattr("memcore.engine.scheduler.CHECKPOINT_SECONDS", 0.0)
    assert shard.CHECKPOINT_SECONDS > 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("undisturbed") / "run").path


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every call that the run makes, in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memcore.engine.scheduler.CHECKPOINT_SECONDS", 0.0)
        patch.setattr(atomic_files, "disk", FaultyDisk())
        run(tmp_path_factory.mktemp("calls") / "run")
        return list(atomic_files.disk.calls)  # type: ignore[attr-defined]


def test_every_kind_of_call_is_made(calls: list[str]) -> None:
    assert set(calls) == {
        "make_folder", "create", "write", "sync", "close", "replace", "link", "remove", "sync_folder"
    }  # fmt: skip
    assert len(calls) > 100


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_call_loses_nothing(
    undisturbed: Path, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The run reports the fault, leaves no part of a file, and is resumed to the same bytes."""
    good = content(undisturbed)
    for at, name in enumerate(calls):
        if fault == "short" and name != "write":
            continue
        path = tmp_path / f"{at}"
        monkeypatch.setattr(atomic_files, "disk", FaultyDisk(at, fault))
        if name in ("remove", "close"):  # of a temporary file that may be gone: nothing is lost by it
            with contextlib.suppress(StoreError):
                run(path)
        else:
            with pytest.raises(StoreError, match="what is finished stays"):
                run(path)
        monkeypatch.setattr(atomic_files, "disk", QuickDisk())
        half = content(path) if path.exists() else {}
        assert half.items() <= good.items(), f"call {at} ({name}) left a file of other content"
        run(path)
        assert content(path) == good, f"call {at} ({name})"
        assert not list(path.rglob(f"{atomic_files.TEMPORARY}*"))
        assert not list((path / "partial").glob("*"))


def test_a_disk_that_stays_full(
    undisturbed: Path, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are not given up for lack of space: the run stops, and is resumed once there is space."""
    for at in range(0, len(calls), 7):
        path = tmp_path / f"{at}"
        monkeypatch.setattr(atomic_files, "disk", FaultyDisk(at, "ENOSPC", lasting=True))
        with pytest.raises(StoreError, match="No space left"):
            run(path)
        monkeypatch.setattr(atomic_files, "disk", QuickDisk())
        assert not run(path).given_up()
        assert content(path) == content(undisturbed)


@pytest.mark.parametrize("pending", ["lost", "kept"])
def test_power_cut_at_every_call(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pending: str
) -> None:
    good = content(undisturbed)
    at = cuts = 0
    while True:
        path = tmp_path / f"{at}"
        disk = UnpluggedDisk(path, at)
        monkeypatch.setattr(atomic_files, "disk", disk)
        try:
            run(path)
        except PowerCut:
            cuts += 1
        else:
            break
        finally:
            monkeypatch.setattr(atomic_files, "disk", QuickDisk())
        disk.lose(pending)
        done = {s.id for s in RunFolder.open(path).done()} if (path / "run.toml").exists() else set()
        for shard_id in done:  # a manifest never exists without its findings
            name = f"findings/shard-{shard_id}.parquet"
            assert content(path)[name] == good[name]
        run(path)
        assert content(path) == good, f"call {at}"
        at += 1
    assert cuts == at > 100


def test_a_finished_run_survives_a_power_cut(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    disk = UnpluggedDisk(path)
    monkeypatch.setattr(atomic_files, "disk", disk)
    run(path)
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())
    disk.lose("lost")
    assert not RunFolder.open(path).pending()
    assert content(path) == content(undisturbed)
