"""A run is opened once, by its launcher, and handed down; a new run's prompts are read once, and so are a resumed one's."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.prompts import TextPrompts, scan_prompts
from memcore.runs.start import RunStart
from memcore.storage.base import Part
from memcore.storage.local import LocalStorage
from tests.support.counting import CountedPrompts, count_readings, readings
from tests.support.synthetic import PROMPTS, SyntheticSampler

NAMED = Config(
    source="custom",
    sampler="tests.support.counting:CountingSampler",
    generations=8,
    batch_size=8,
    min_clique=3,
    shard_prompts=2,
)
HANDED = Config(source="custom", generations=8, batch_size=8, min_clique=3, shard_prompts=2)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Count in this process and, through the sampler, in its workers."""
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "read", LocalStorage.read)  # undone at the end
        patch.setattr(LocalStorage, "open", LocalStorage.open)
        patch.setenv("READINGS", str(tmp_path / "readings"))
        count_readings()
        yield tmp_path / "readings"


def openings(log: Path) -> dict[str, int]:
    """Return how often the launcher and all workers together read run.toml since the last time."""
    counted = readings(log, "run.toml")
    log.unlink(missing_ok=True)
    return {"launcher": counted.pop(os.getpid(), 0), "workers": sum(counted.values())}


ONCE = {"launcher": 1, "workers": 0}


def test_in_this_process(tmp_path: Path, log: Path) -> None:
    for _ in ("new", "resumed"):
        prompts = CountedPrompts(PROMPTS)
        audit(tmp_path / "run", HANDED, sampler=SyntheticSampler(), prompts=prompts, quiet=True)  # type: ignore[arg-type]
        assert prompts.passes == 1
        assert openings(log) == ONCE


@pytest.mark.parametrize("launcher", ["local", "ray"])
def test_by_workers(tmp_path: Path, log: Path, launcher: str) -> None:
    """Each worker reads prompts.parquet, for its shards' texts, but never run.toml."""
    if launcher == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    parts: list[Part | None] = [(1, 2), None, None]  # new, resumed, finished
    for part in parts:
        prompts = CountedPrompts(PROMPTS)
        run = audit(
            tmp_path / "run",
            NAMED,
            prompts=prompts,  # type: ignore[arg-type]
            workers=2,
            part=part,
            quiet=True,
            launcher=launcher,
        )
        assert prompts.passes == 1
        assert max(readings(log, "prompts.parquet").values(), default=0) <= 1
        assert openings(log) == ONCE
    assert not run.pending()
    assert list(run.prompts) == PROMPTS


def test_a_file_of_prompts(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line gives it, with one part and with the rest."""
    passes = []
    read = TextPrompts.__iter__

    def counted(self: TextPrompts) -> Iterator[str]:
        passes.append(self.path)
        return read(self)

    monkeypatch.setattr(TextPrompts, "__iter__", counted)
    (tmp_path / "prompts.txt").write_text("".join(f"{p}\n" for p in PROMPTS))
    words = [
        "audit",
        str(tmp_path / "run"),
        "--sampler",
        NAMED.sampler,
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    words += ["--generations", "8", "--min-clique", "3", "--shard-prompts", "2", "--workers", "1", "--quiet"]
    # 5: every image of one prompt is black; a part of a run leaves that to the whole
    for more, code in ((["--part", "1/2"], 0), ([], 5)):
        passes.clear()
        assert main([*words, *more]) == code
        assert len(passes) == 1
        assert openings(log) == ONCE


def test_a_run_that_is_open_already(tmp_path: Path, log: Path) -> None:
    audit(tmp_path / "run", HANDED, sampler=SyntheticSampler(), prompts=PROMPTS, part=(1, 2), quiet=True)
    run = RunFolder.open(tmp_path / "run")
    openings(log)
    done = audit(run, HANDED, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    assert done is run
    assert not run.pending()
    assert openings(log) == {"launcher": 0, "workers": 0}


def test_a_handed_down_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of another working directory, and with its prompts read before."""
    monkeypatch.chdir(tmp_path)
    run = audit("run", HANDED, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    assert run.prompts[2] == PROMPTS[2]
    sent = pickle.dumps(run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    handed: RunFolder = pickle.loads(sent)
    assert handed.shards() == run.shards()
    assert (handed.config, handed.digest, handed.meta) == (run.config, run.digest, run.meta)
    assert handed.findings() == RunFolder.open(tmp_path / "run").findings()
    assert list(handed.prompts) == PROMPTS
    for shard in handed.shards():
        assert handed.shard(shard.task) == shard


@pytest.mark.parametrize("moved", ["held in memory", "on the disk"])
def test_the_copy_of_the_prompts_is_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    if moved == "on the disk":
        monkeypatch.setattr("memcore.runs.start.PROMPTS_BYTES", 1)
        monkeypatch.setattr("memcore.system.atomic_files.PIECE_BYTES", 100)
    prompts = [f"{n}: a prompt" for n in range(10_000)]
    run = RunStart(tmp_path / "run", HANDED, prompts).create("f", {})
    with (tmp_path / "direct.parquet").open("wb") as file:
        scan_prompts(prompts, file)
    assert (run.path / "prompts.parquet").read_bytes() == (tmp_path / "direct.parquet").read_bytes()


def test_memory_stays_flat(tmp_path: Path) -> None:
    """200,000 prompts that are never held: as text they take more than 40 MB."""
    tracemalloc.start()
    try:
        start = RunStart(tmp_path / "run", HANDED, (f"{n}: " + 200 * "p" for n in range(200_000)))
        start.create("f", {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert start.prompts.count == 200_000
    assert peak < 20e6


def test_wrong_prompts_leave_no_folder(tmp_path: Path) -> None:
    for prompts in ([], ["fine", 7]):
        with pytest.raises(ConfigError, match="prompt"):
            audit(tmp_path / "run", HANDED, sampler=SyntheticSampler(), prompts=prompts, quiet=True)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_another_launcher_was_faster(tmp_path: Path, log: Path) -> None:
    """It started the run after this one had looked: this one resumes it, or says what differs."""
    slow = RunStart(tmp_path / "run", HANDED, PROMPTS)
    other = RunStart(tmp_path / "run", HANDED, [*PROMPTS, "one more"])
    assert slow.run is None
    first = RunStart(tmp_path / "run", HANDED, PROMPTS).create("f", {})
    assert slow.create("f", {}).digest == first.digest
    with pytest.raises(ConfigError, match="another list of prompts"):
        other.create("f", {})


def test_more_shards_than_a_run_may_have_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memcore.runs.shards.MOST_SHARDS", 2)
    with pytest.raises(ConfigError, match=r"shard_prompts=2 makes 3 shards, .* at most 2: give 3 or more"):
        RunStart(tmp_path / "run", HANDED, [f"prompt {n}" for n in range(5)])
    assert not (tmp_path / "run").exists()
    RunStart(tmp_path / "run", HANDED, [f"prompt {n}" for n in range(4)]).create("f", {})
