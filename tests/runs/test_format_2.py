"""Runs of format 2 that an earlier commit made are resumed by this one to the same bytes, and read as they were written.

``data/format-2/finished`` and ``data/format-2/stopped`` are one run, whole and interrupted in its second shard, made before
the engine knew tasks.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.report.run import read_run
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.status import status
from memcore.runs.summary import summary
from tests.support.synthetic import PROMPTS, SyntheticSampler

DATA = Path(__file__).parents[1] / "data" / "format-2"
CONFIG = Config(
    source="custom",
    generations=24,
    batch_size=16,
    min_clique=10,
    edges_up_to=0.2,
    shard_prompts=3,
    budget="sequential",
    seed=7,
)
#: Entries of a manifest that another run of the same shard may have otherwise.
VOLATILE = ("started", "finished", "writer", "seconds")


class Unused(SyntheticSampler):
    """A sampler with the old run's fingerprint, which must not be called."""

    def sample(self, requests: Any) -> Any:
        raise AssertionError("a finished run samples nothing")


def files(run: Path) -> dict[str, bytes]:
    """Return the content of every file but locks."""
    return {
        str(p.relative_to(run)): p.read_bytes()
        for p in sorted(run.rglob("*"))
        if p.is_file() and not p.name.startswith(".lock")
    }


def lasting(run: Path) -> dict[str, Any]:
    """Return what must be the same whenever the run was made: run.toml and manifests without their times and versions."""
    found: dict[str, Any] = {}
    for name, content in files(run).items():
        if name.startswith("manifest/"):
            told = json.loads(content)
            assert all(key in told for key in VOLATILE)
            found[name] = {key: value for key, value in told.items() if key not in VOLATILE}
        elif name == "run.toml":
            found[name] = [
                line for line in content.decode().splitlines() if not line.startswith(("created", "memcore"))
            ]
        else:
            found[name] = content
    return found


@pytest.fixture(params=["finished", "stopped"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of the old run."""
    shutil.copytree(DATA / request.param, tmp_path / "run")
    return tmp_path / "run"


def test_it_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    kept = files(run)
    assert len(list(run.glob("manifest/*"))) == 1
    assert len(list(run.glob("partial/*"))) == 1
    resumed = audit(run, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True)
    assert not resumed.pending()
    assert lasting(run) == lasting(DATA / "finished")
    assert {name: files(run)[name] for name in kept if not name.startswith("partial/")} == {
        name: content for name, content in kept.items() if not name.startswith("partial/")
    }


def test_its_checkpoint_is_used(tmp_path: Path) -> None:
    """The prompts that were finished when the run was stopped are not sampled again."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    folder = RunFolder.open(run)
    (shard,) = (s for s in folder.pending() if folder.read_partial(s).rows)
    finished = {int(row["prompt_id"]) for row in folder.read_partial(shard).rows}
    assert finished

    class Watched(SyntheticSampler):
        def sample(self, requests: Any) -> Any:
            assert not finished & {r.prompt_id for r in requests}
            return super().sample(requests)

    assert not audit(run, CONFIG, sampler=Watched(fail="rain"), prompts=PROMPTS, quiet=True).pending()


def test_a_new_run_is_the_same(tmp_path: Path) -> None:
    run = tmp_path / "run"
    audit(run, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True)
    assert lasting(run) == lasting(DATA / "finished")


def test_a_finished_one_is_left_as_it_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    before = files(run)
    for retry in (False, True):
        folder = audit(run, CONFIG, sampler=Unused(fail="rain"), prompts=PROMPTS, quiet=True, retry=retry)
        assert not folder.pending()
    assert files(run) == before


def test_it_is_read(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the run folder, the status, the summary, the report's reader and the commands."""
    folder = RunFolder.open(old)
    complete = not folder.pending()
    assert list(folder.prompts) == PROMPTS
    assert folder.config == CONFIG
    manifests = folder.manifests()
    prompts = sum(m["prompts"] for m in manifests)
    told, counted, read = status(folder), summary(folder), read_run(old)
    assert told["complete"] == complete
    assert prompts == told["prompts_done"] == counted["done"] == read.done == len(folder.findings())
    found = sum(row["status"] == "finding" for row in folder.findings())
    assert found == told["findings"] == counted["candidates"] == len(read.findings) == 2
    assert told["shards_checkpointed"] == (0 if complete else 1)
    failed = sum(row["status"] == "failed" for row in folder.findings())
    assert (failed, len(folder.quarantine())) == ((1, 1) if complete else (0, 0))
    for row in folder.findings():
        if row["status"] == "finding":
            assert all(folder.image_path(row["prompt_id"], seed).exists() for seed in row["seeds"])
    assert main(["status", str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompts_done"] == prompts
    assert main(["report", str(old)]) == 0
