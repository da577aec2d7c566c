"""``memcore show``: what a run found, quarantined and failed at, in a table of 80 columns, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit import shard
from memcore.audit.context import ShardContext
from memcore.audit.in_flight import PromptInFlight
from memcore.audit.run_audit import audit
from memcore.cli import main
from memcore.commands._table import Column, table_lines
from memcore.errors import SamplerError
from memcore.matching.match_run import match_run
from memcore.report.run import read_run
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.types import Images, Request
from tests.support.drawn import picture
from tests.support.synthetic import SyntheticSampler

LISTS = ("findings", "matches", "quarantine", "failures")
COUNT = 30
ODD = "\x1b[31m日本語の長い説明文がここにずっと続いて、終わりがない\nend"
PROMPTS = [f"a picture of thing {i}, {'with all that belongs to it, ' * 4}" for i in range(COUNT)]


class Things:
    """A sampler of copies, the more alike the later the prompt; one prompt is refused, and one ends its shard."""

    fingerprint, image_shape = "things", (16, 16, 3)

    def sample(self, requests: Sequence[Request]) -> Images:
        if any(r.prompt == ODD for r in requests):
            raise SamplerError("the server said no\nand more")
        pixels = np.stack([self._one(r) for r in requests])
        return Images(pixels, np.zeros(len(requests), np.bool_))

    def _one(self, request: Request) -> Any:
        noise = COUNT + 4 - request.prompt_id
        grain = np.random.default_rng(request.seed).integers(-noise, noise + 1, (16, 16, 3))
        return (picture(request.prompt_id, 16).astype(int) + grain).clip(0, 255).astype(np.uint8)

    def check_prompt(self, prompt: str) -> str:
        return "the prompt has 99 tokens" if prompt == PROMPTS[4] else ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 30 findings, the strongest last, one of them no copy; two failures, a note, and long and odd texts."""
    path = tmp_path_factory.mktemp("show")
    config = Config(source="custom", generations=12, batch_size=12)
    prompts = [*PROMPTS, ODD, "of a shard"]
    right = shard.finish_prompt

    def finish(context: ShardContext, prompt: PromptInFlight) -> None:
        if prompt.prompt == "of a shard":
            raise ValueError("no such voice")
        right(context, prompt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "finish_prompt", finish)
        audit(path / "a run", config, sampler=Things(), prompts=prompts, quiet=True)  # type: ignore[arg-type]
    np.save(path / "train.npy", np.stack([picture(i, 16) for i in range(COUNT) if i != 7]))
    match_run(path / "a run", path / "train.npy", delta=0.1)
    return path / "a run"


def show(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Return what the command prints."""
    assert main(["show", *map(str, words)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("what", LISTS)
def test_a_table_fits_80_columns(run: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, run, what).splitlines()
    table = [line for line in lines[1:22] if not line.startswith("not decided: ")]
    assert all(_columns(line) <= 80 for line in table), table
    assert "\x1b" not in "\n".join(lines)
    if what in ("findings", "matches"):
        assert len(table) == 21
        assert lines[22] == "and 10 more: --limit 0 lists all"
        assert len(show(capsys, run, what, "--limit", "0").splitlines()) == 1 + 1 + 30 + 1
        assert len(show(capsys, run, what, "--limit", "3").splitlines()) == 1 + 1 + 3 + 1 + 1


def _columns(line: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in line)


def test_the_ranking_is_that_of_the_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(show(capsys, run, "--json"))
    ranked = read_run(run).findings
    assert [row["prompt_id"] for row in said["rows"]] == [row["prompt_id"] for row in ranked]
    assert [row["rank"] for row in said["rows"]] == list(range(1, 31))
    assert said["count"] == 30
    assert [row["prompt_id"] for row in said["rows"]] != list(range(30))
    assert (run / said["rows"][0]["medoid_image"]).is_file()
    assert sum(row["extracted"] is False for row in said["rows"]) == 1
    matched = json.loads(show(capsys, run, "matches", "--format", "json"))
    assert [row["prompt_id"] for row in matched["rows"]] == [row["prompt_id"] for row in ranked]
    assert "2 of 32 prompts failed" in said["not_decided"][0]["text"]


def test_a_csv_holds_what_json_holds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in LISTS:
        rows = json.loads(show(capsys, run, what, "--json"))["rows"]
        assert main(["show", str(run), what, "--format", "csv"]) == 0
        out, err = capsys.readouterr()
        table = list(csv.DictReader(io.StringIO(out)))
        assert len(table) == len(rows)
        assert list(table[0]) == list(rows[0])
        for name, value in rows[0].items():
            written = json.dumps(value) if isinstance(value, bool | list) else str(value)
            assert table[0][name] == ("" if value is None else written), name
        assert "not decided: 2 of 32 prompts failed" in err, "what is missing is said beside the data"


def test_failures_name_their_first_cause(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(show(capsys, run, "failures", "--json"))["rows"]
    assert [(row["prompt_id"], row["reason"], row["cause"]) for row in rows] == [
        (30, "sampler", "the server said no"),
        (31, "error", "ValueError: no such voice"),
    ]
    assert "ValueError: no such voice" in show(capsys, run, "failures")
    assert [row["reason"] for row in json.loads(show(capsys, run, "quarantine", "--json"))["rows"]] == [
        "long-prompt",
        "sampler",
        "error",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["groups"], "groups are those of a list that memcore prompts has written"),
        (["--limit", "-1"], "limit must be at least 0, got -1"),
        (["finding"], "did you mean 'findings'?"),
    ],
)
def test_wrong_use(run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_was_not_matched_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(source="custom", generations=12)
    audit(tmp_path / "run", config, sampler=SyntheticSampler(), prompts=["a door"], quiet=True)
    assert main(["show", str(tmp_path / "run"), "matches"]) == 2
    assert "was not matched yet: memcore match" in capsys.readouterr().err
    assert "0 of 1 prompt with a clique" in show(capsys, tmp_path / "run")
    assert main(["show", str(tmp_path / "nothing")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_matches_of_other_findings_are_told_and_not_shown(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    opened = RunFolder.open(copy)
    opened.forget(opened.shards()[-1])
    said = json.loads(show(capsys, copy, "--json"))
    assert "extracted" not in said["rows"][0]
    assert said["stale"][0]["file"] == "matches.parquet"
    assert "stale: matches.parquet" in show(capsys, copy)
    assert main(["show", str(copy), "matches"]) == 2
    assert "matches.parquet" in capsys.readouterr().err


def test_groups_of_duplicates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The most frequent caption stands for its group, and the group's images are listed."""
    images = np.repeat(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8), [4, 3, 1], axis=0)
    np.save(tmp_path / "train.npy", images)
    captions = ["a typo", "", "a dog", "a dog", "a cat", "cat", "cat", "alone"]
    (tmp_path / "captions.txt").write_text("".join(f"{c}\n" for c in captions))
    source = ["--source", tmp_path / "train.npy", "--captions", tmp_path / "captions.txt"]
    assert main(["index", *map(str, (tmp_path / "index", *source)), "--quiet"]) == 0
    out = tmp_path / "prompts.parquet"
    assert main(["prompts", str(out), "--index", str(tmp_path / "index"), "--trust-paths"]) == 0
    assert "2 prompts of 2 groups of duplicates; the largest has 4 images" in capsys.readouterr().out
    said = json.loads(show(capsys, out, "--json"))
    assert [(r["prompt"], r["count"], r["training_index"], r["members"]) for r in said["rows"]] == [
        ("a dog", 4, 2, [0, 1, 2, 3]),
        ("cat", 3, 5, [4, 5, 6]),
    ]
    assert [len(r["member_names"]) for r in said["rows"]] == [4, 3]
    assert "2 groups of duplicates with a caption" in show(capsys, out)
    assert main(["show", str(out), "findings"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_file_that_is_no_list_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.csv").write_text("a,b\n")
    assert main(["show", str(tmp_path / "run.csv")]) == 2
    assert "cannot be read as Parquet" in capsys.readouterr().err


def test_cells_give_way_where_the_row_is_too_long() -> None:
    def cell(name: str) -> Any:
        return lambda row: row[name]

    columns = [
        Column("n", cell("n")),
        Column("file", cell("file"), "start"),
        Column("text", cell("text"), "end"),
    ]
    rows = [{"n": "12", "file": "train/" + "x" * 40 + "/7.png", "text": "word " * 20}]
    (_, line) = table_lines(columns, rows, 40)
    assert len(line) <= 40
    number, file, *text = line.split()
    assert number == "12"
    assert file.startswith("…")
    assert file.endswith("/7.png")
    assert text[-1].endswith("…")


def test_an_audit_says_what_shows_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox\nrain\n")
    sampler = "tests.support.synthetic:SyntheticSampler"
    words = ["audit", str(tmp_path / "run"), "--sampler", sampler, "--prompts", str(prompts)]
    options = ["--sampler-options", '{"fail": "rain"}', "--generations", "24", "--quiet", "--workers", "1"]
    assert main([*words, *options]) == 5
    out = capsys.readouterr().out
    assert "1 prompt with a clique" in out
    assert "the first failure: prompt 1 (sampler): cannot sample" in out
    for what in ("", " failures", " quarantine"):
        assert f"memcore show {tmp_path / 'run'}{what}: lists" in out
        assert main(["show", str(tmp_path / "run"), *what.split()]) == 0
    assert not list(RunFolder.open(tmp_path / "run").pending())
