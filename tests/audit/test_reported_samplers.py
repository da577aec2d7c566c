"""Samplers that fail for one prompt cost that prompt alone, whatever they do. See tests/FAULTS.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from memcore.errors import ConfigError
from memcore.jobs.audit import audit
from memcore.jobs.config import Config
from memcore.sampling import CallableSampler
from tests.support.command_line import memcore, read_run
from tests.support.failing_samplers import ANSWERS, ENDS, Failing


@pytest.mark.parametrize("kind", [kind for kind in (*ENDS, *ANSWERS) if kind != "os._exit"])
def test_it_costs_one_prompt(tmp_path: Path, kind: str) -> None:
    config = Config(source="custom", generations=12, batch_size=12, min_clique=4)
    prompts = ["a fox", "a hill", "a tree"]
    folder = audit(tmp_path / "run", config, sampler=Failing(kind), prompts=prompts, quiet=True)
    rows, _ = read_run(folder.path)
    assert {prompt: row["status"] for prompt, row in rows.items()} == {
        "a fox": "none",
        "a hill": "failed",
        "a tree": "none",
    }
    (entry,) = [
        entry for file in (folder.path / "quarantine").iterdir() for entry in pq.read_table(file).to_pylist()
    ]
    assert (entry["prompt_id"], entry["reason"]) == (1, "sampler")
    assert 0 < len(entry["detail"]) < 25_000
    if kind == "sys.exit":
        assert "no credit left" in entry["detail"]


def test_one_that_ends_its_process_costs_its_shard(tmp_path: Path) -> None:
    """Nothing can be caught: the worker dies three times, and then its shard is given up."""
    (tmp_path / "p.txt").write_text("a fox\na hill\na tree\n")
    said = memcore(
        *("audit", tmp_path / "run", "--sampler", "tests.support.failing_samplers:Failing"),
        *("--sampler-options", '{"kind": "os._exit"}', "--prompts", tmp_path / "p.txt", "--generations", 12),
        *("--batch-size", 12, "--min-clique", 4, "--shard-prompts", 1, "--workers", 1, "--quiet"),
    )
    assert said.code == 5, said
    rows, _ = read_run(tmp_path / "run")
    assert {prompt: row["reason"] for prompt, row in rows.items()} == {
        "a fox": None,
        "a hill": "crash",
        "a tree": None,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", None),
        ("image_shape", (0, 16, 3)),
        ("image_shape", (16, 16)),
        ("image_shape", (16.0, 16, 3)),
        ("fingerprint", 5),
        ("fingerprint", ""),
    ],
)
def test_a_sampler_that_says_nothing_of_itself_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    sampler = Failing("error")
    setattr(sampler, name, value)
    with pytest.raises(ConfigError, match=f"the sampler's {name} must be "):
        audit(tmp_path / "run", Config(source="custom"), sampler=sampler, prompts=["a fox"], quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_description_of_any_text_is_recorded(tmp_path: Path) -> None:
    sampler = Failing("error")
    sampler.describe = lambda: {"caf\udce9": "\ud800", "object": object()}  # type: ignore[method-assign]
    config = Config(source="custom", generations=12)
    folder = audit(tmp_path / "run", config, sampler=sampler, prompts=["a fox"], quiet=True)
    assert "caf" in (folder.path / "run.toml").read_text("utf-8")


@pytest.mark.parametrize("keep", ["findings", "all"])
@pytest.mark.parametrize("budget", ["fixed", "sequential"])
def test_an_answer_may_be_overwritten_by_the_next_call(tmp_path: Path, budget: str, keep: str) -> None:
    """As the static outputs of a CUDA graph are, and buffers that are used again."""
    last: list[Any] = []

    def one(prompt: str, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        if prompt == "copied":
            return np.clip(100 + rng.integers(-5, 6, (16, 16, 3)), 0, 255).astype(np.uint8)
        return rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)

    def plain(prompts: list[str], seeds: list[int]) -> Any:
        return np.stack([one(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)])

    def overwriting(prompts: list[str], seeds: list[int]) -> Any:
        for answer in last:
            answer[:] = 255
        last[:] = [plain(prompts, seeds)]
        return last[0]

    answers = []
    for name, function in (("plain", plain), ("overwriting", overwriting)):
        config = Config(source="custom", generations=40, batch_size=7, budget=budget, keep=keep)
        sampler = CallableSampler(function, (16, 16, 3), "same")
        folder = audit(
            tmp_path / name, config, sampler=sampler, prompts=["copied", "noise", "copied"], quiet=True
        )
        images = {p.name: p.read_bytes() for p in sorted((folder.path / "images").rglob("*.png"))}
        answers.append(([(row["seeds"], row["size"]) for row in folder.findings()], images))
    assert answers[0] == answers[1]


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
