"""Runs of format 3 that an earlier commit made are resumed by this one to the same bytes, and read as they were written.

``data/format-3/finished`` and ``data/format-3/stopped`` are one run, whole and interrupted in its second shard, made by
``tests/support/stored_runs.py``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from memcore.annotate.agreement import read_agreement
from memcore.audit import audit
from memcore.cli import main
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.report.run import read_run
from memcore.runs.folder import RunFolder
from memcore.runs.status import status
from memcore.runs.summary import summary
from tests.support.stored_runs import CONFIG
from tests.support.synthetic import PROMPTS, SyntheticSampler

DATA = Path(__file__).parents[1] / "data" / "format-3"
#: Entries of a manifest that another run of the same shard may have otherwise.
VOLATILE = ("started", "finished", "writer", "seconds", "seal")
#: Files that the audit did not write.
DERIVED = ("match", "training", "evaluation", "annotations", "report")


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
            volatile = ("created", "memcore", "seal")
            found[name] = [line for line in content.decode().splitlines() if not line.startswith(volatile)]
        elif name.startswith(DERIVED):
            continue
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
    # 5: a prompt of the finished run failed; an unfinished run has no verdict yet, and its report says that
    assert main(["status", str(old), "--json"]) == (5 if complete else 0)
    assert json.loads(capsys.readouterr().out)["prompts_done"] == prompts
    assert main(["report", str(old)]) == 5


def test_what_was_derived_from_it_is_read_and_fits_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    read = read_run(run)
    assert not read.stale
    assert status(RunFolder.open(run))["stale"] == []
    assert read.matches is not None
    assert read.extracted_prompts == 2
    assert read.evaluation is not None
    assert read.evaluation["stages"]["extracted"]["tp"] == 2
    assert read_agreement(run)["annotators"]["1"] == {"copy": 1, "no": 0, "unsure": 0}
    assert evaluate_run(run, against="annotations")["stages"]["candidates"]["tp"] == 1
    assert not read_run(run).stale


def test_every_file_of_it_has_a_digest_where_its_reader_finds_it() -> None:
    """By the formats alone, with nothing of memcore."""
    run = DATA / "finished"

    def sealed(record: dict[str, Any]) -> dict[str, Any]:
        content = {name: value for name, value in record.items() if name != "seal"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == record["seal"]
        return record

    meta = sealed(tomllib.loads((run / "run.toml").read_text("utf-8")))
    recorded = {"prompts.parquet": meta["prompts"]["file"]["sha256"]}
    jsons = [*run.glob("manifest/*.json"), run / "match.json", run / "evaluation.json"]
    for file in jsons:
        named = sealed(json.loads(file.read_text("utf-8"))).get("files", {})
        recorded |= {name: digest["sha256"] for name, digest in named.items()}
    for file in run.glob("findings/*.parquet"):
        for row in pq.read_table(file).to_pylist():
            for image in row["images"]:
                recorded[f"images/{row['prompt_id']:06d}/{image['seed']}.png"] = image["sha256"]
    there = {name: hashlib.sha256(content).hexdigest() for name, content in files(run).items()}
    sealed_ones = {"run.toml", *(str(file.relative_to(run)) for file in jsons)}
    assert there.items() >= recorded.items()
    assert set(there) == set(recorded) | sealed_ones | {"annotations.sqlite"}
