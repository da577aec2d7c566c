"""``memcore bench --record``: one CSV file a suite, one row a ratio, nothing lost of what was there."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import memcore
from memcore import bench
from memcore.bench import history
from memcore.bench.rows import OF_THE_TIME, Row, Target
from memcore.bench.timing import Spread
from memcore.cli import main
from memcore.errors import ArgumentValueError

MACHINE = {
    "section": "machine",
    "processor": "A processor, with a comma",
    "processors": 2,
    "load": 0.1,
    "isa": "avx2",
    "isa_available": ["scalar", "avx2"],
    "threads": 1,
    "quick": True,
    "versions": {"memcore": memcore.__version__, "python": "3.11"},
    "numpy_blas": "none",
}
FASTER = Row("dense", "500 images", "numkong", "avx2", value=Spread(6.25, 6.0, 1 / 3 + 6), rounds=9)
SLOWER = Row(
    "graph", "diverse, 0.15", "one read", unit=OF_THE_TIME, value=Spread(1.5, 1.4, 1.6), rounds=5,
    target=Target("graph", "<=", 2.0),
)  # fmt: skip
ABSENT = Row("dense", "500 images", "faiss", note="not installed")
WRONG = Row("clique", "wrong answer", "refused to time", note="differs", refused=True)
RESULTS = [MACHINE, *(row.as_dict() for row in (FASTER, SLOWER, ABSENT, WRONG))]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """``memcore bench`` that times nothing; what each run was asked for."""
    asked: list[dict[str, Any]] = []

    def run_all(quick: bool, **options: Any) -> list[dict[str, Any]]:
        asked.append({"quick": quick, **options})
        return [result for result in RESULTS if not result.get("refused")]

    monkeypatch.setattr(bench, "run_all", run_all)
    return asked


def test_a_row_for_each_ratio_and_none_for_what_has_none(tmp_path: Path) -> None:
    written = history.record(tmp_path / "history", RESULTS)
    assert [path.name for path in written] == ["dense.csv", "graph.csv"]
    (dense,), (graph,) = rows(written[0]), rows(written[1])
    assert list(dense) == list(history.COLUMNS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", dense["date"])
    assert dense["commit"] == history.commit() == graph["commit"]
    assert dense | {"date": "", "commit": ""} == {
        "date": "", "commit": "", "memcore": memcore.__version__, "machine": "A processor, with a comma", "processors": "2",
        "isa": "avx2", "quick": "yes", "case": "500 images", "peer": "numkong", "unit": "x faster",
        "ratio": "6.25", "low": "6", "high": "6.33333", "rounds": "9", "holds": "",
    }  # fmt: skip
    # A row that names no instruction set ran on the machine's.
    assert (graph["isa"], graph["unit"], graph["holds"]) == ("avx2", OF_THE_TIME, "yes")


def test_runs_are_appended_under_one_header(tmp_path: Path) -> None:
    history.record(tmp_path, RESULTS)
    first = (tmp_path / "dense.csv").read_bytes()
    history.record(tmp_path, RESULTS)
    both = (tmp_path / "dense.csv").read_bytes()
    assert both.startswith(first)
    assert len(both.splitlines()) == 3
    assert both.count(b"date,commit") == 1


def test_a_device_has_suites_of_its_own(tmp_path: Path) -> None:
    device = {**MACHINE, "device": "a GPU"}
    assert [path.name for path in history.record(tmp_path, [device, *RESULTS[1:]])] == [
        "gpu-dense.csv",
        "gpu-graph.csv",
    ]


def test_other_columns_are_refused_before_anything_is_timed(
    tmp_path: Path, stubbed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.csv").write_text("date,ratio\n2020-01-01,1\n")
    with pytest.raises(ArgumentValueError, match=r"old\.csv must have the columns date, .*got date, ratio"):
        history.check_folder(tmp_path)
    assert main(["bench", "--quick", "--record", str(tmp_path)]) == 2
    assert "move it away" in capsys.readouterr().err
    assert stubbed == []
    assert (tmp_path / "old.csv").read_text() == "date,ratio\n2020-01-01,1\n"


def test_the_command_records_where_it_is_told(
    tmp_path: Path, stubbed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--quick", "--record", str(tmp_path / "here"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["results"]) == 4
    assert f"recorded: {tmp_path / 'here' / 'dense.csv'}" in err
    assert len(rows(tmp_path / "here" / "graph.csv")) == 1
    assert stubbed[0]["quick"] is True


def test_without_a_folder_it_is_the_clones(
    tmp_path: Path, stubbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--quick"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main(["bench", "--quick", "--record"]) == 0
    assert len(rows(tmp_path / "benchmarks" / "history" / "dense.csv")) == 1


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_is_that_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``+`` where they were edited; nothing where they are not the clone's; the history itself is no edit."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    module = tmp_path / "memcore" / "bench" / "history.py"
    module.parent.mkdir(parents=True)
    module.write_text("first\n")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "dense.csv").write_text("date\n")
    monkeypatch.setattr(history, "__file__", str(module))
    git("init", "-q")
    assert history.commit() == ""
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "benchmarks" / "dense.csv").write_text("date\n2020\n")
    assert history.commit() == head
    module.write_text("edited\n")
    assert history.commit() == head + "+"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert history.commit() == ""
