"""Samplers that fail for one prompt cost that prompt alone, whatever they do. See tests/FAULTS.md."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command_line import memcore, read_run
from tests.support.failing_samplers import ANSWERS, ENDS


def run(tmp_path: Path, kind: str, sampler: str = "tests.support.failing_samplers:Failing") -> Path:
    (tmp_path / "p.txt").write_text("a fox\na hill\na tree\n")
    said = memcore(
        *("audit", tmp_path / "run", "--sampler", sampler, "--sampler-options", f'{{"kind": "{kind}"}}'),
        *("--prompts", tmp_path / "p.txt", "--generations", 12, "--batch-size", 12, "--min-clique", 4),
        *("--shard-prompts", 3, "--workers", 1, "--quiet"),
    )
    assert said.code in (1, 5), said
    return tmp_path / "run"


@pytest.mark.parametrize("kind", [*ENDS, *ANSWERS])
def test_it_costs_one_prompt(tmp_path: Path, kind: str) -> None:
    folder = run(tmp_path, kind)
    rows, _ = read_run(folder)
    if kind == "os._exit":  # nothing can be caught: the worker dies, and with it, in the end, its shard
        assert rows["a hill"]["status"] == "failed"
        return
    assert {prompt: row["status"] for prompt, row in rows.items()} == {
        "a fox": "none",
        "a hill": "failed",
        "a tree": "none",
    }
    (entry,) = [
        entry for file in (folder / "quarantine").iterdir() for entry in pq.read_table(file).to_pylist()
    ]
    assert (entry["prompt_id"], entry["reason"]) == (1, "sampler")
    assert 0 < len(entry["detail"]) < 25_000
    if kind == "sys.exit":
        assert "no credit left" in entry["detail"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module:x", "no_such_module"),
        ("tests.support.failing_samplers", "package.module:attribute"),
        ("tests.support.failing_samplers:Missing", "has no 'Missing'"),
        ("tests.support.failing_samplers:SHAPE", "neither a sampler nor what makes one"),
        (":Failing", "package.module:attribute"),
    ],
)
def test_what_is_no_sampler_is_refused(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "p.txt").write_text("a fox\n")
    said = memcore(
        *("audit", tmp_path / "run", "--sampler", name, "--prompts", tmp_path / "p.txt"),
        *("--generations", 12, "--workers", 1, "--quiet"),
    )
    assert said.code == 2, said
    assert told in said.err
    assert "Traceback" not in said.err
