"""A column is declared once: the schemas derived from the rows' types are the format, and a misspelt column is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memcore.errors import ArgumentValueError
from memcore.runs import rows, schema, tables
from memcore.runs.folder import RunFolder
from memcore.runs.reading import findings_table, read_parquet
from memcore.runs.rows import FindingRow, MatchRow, QuarantineRow, read_scores, with_scores
from memcore.sampling.diffusers.first_step import SCORES
from memcore.storage.local import LocalStorage
from tests.support import report_runs

ROOT = Path(__file__).parents[2]
FORMAT_2 = ROOT / "tests" / "data" / "format-2" / "finished"
FORMAT_3 = ROOT / "tests" / "data" / "format-3" / "finished"
TABLES = [
    pytest.param(schema.FINDINGS, report_runs.FINDINGS, id="findings"),
    pytest.param(schema.QUARANTINE, report_runs.QUARANTINE, id="quarantine"),
    pytest.param(schema.MATCHES, report_runs.MATCHES, id="matches"),
]


@pytest.mark.parametrize(("derived", "stated"), TABLES)
def test_derived_schemas_are_the_format(derived: pa.Schema, stated: pa.Schema) -> None:
    assert derived.equals(stated, check_metadata=True)
    assert derived.to_string() == stated.to_string()
    assert tables.parquet_bytes(derived.empty_table()) == tables.parquet_bytes(stated.empty_table())


@pytest.mark.parametrize(
    "file", sorted(FORMAT_3.glob("findings/*.parquet")), ids=lambda file: file.stem[6:13]
)
def test_findings_of_an_earlier_commit_are_written_again_byte_for_byte(file: Path) -> None:
    table = read_parquet(file.read_bytes())
    assert table.schema.equals(report_runs.FINDINGS)
    again = tables.rows_to_table(tables.table_to_rows(table))
    plain = pa.Table.from_pylist(table.to_pylist(), schema=report_runs.FINDINGS)
    assert tables.parquet_bytes(again) == tables.parquet_bytes(plain)


def test_columns_that_earlier_formats_may_lack() -> None:
    assert schema.added_columns(FindingRow) == {
        "stop",
        *SCORES,
        "tile_bytes",
        "pairs",
        "images",
        "medoid_image",
        "largest",
        *schema.GIVEN_COLUMNS,
    }
    assert schema.added_columns(QuarantineRow) == set()
    assert schema.added_columns(MatchRow) == set(
        schema.MATCHES.names[schema.MATCHES.names.index("adaptive") :]
    )


def test_scores_of_screens_are_columns() -> None:
    row: FindingRow = RunFolder.open(FORMAT_2).findings()[0]
    scored = with_scores(row, {SCORES[0]: 0.5})
    assert read_scores(scored) == {SCORES[0]: 0.5, **dict.fromkeys(SCORES[1:])}
    again = tables.rows_to_table([scored]).to_pylist()[0]
    assert again[SCORES[0]] == 0.5


def test_a_column_that_is_not_there_is_no_silent_choice() -> None:
    shard = next(FORMAT_2.glob("findings/*.parquet")).stem
    with pytest.raises(
        ArgumentValueError, match="findings have no column 'mean_distanse'; there are prompt_id"
    ):
        findings_table(LocalStorage(FORMAT_2), shard, ["prompt_id", "mean_distanse"])


#: What each reader gives, a column of it, and one that is misspelt.
READERS = [
    ("FindingRow", "next(folder.iter_findings())", "mean_distance", "mean_distanse"),
    ("CliqueRow", 'folder.findings()[0]["cliques"][0]', "medoid_seed", "medoid_seeds"),
    ("PairRow", '(folder.findings()[0]["pairs"] or [])[0]', "ssd", "sdd"),
    ("ImageRow", '(folder.findings()[0]["images"] or [])[0]', "sha256", "sha265"),
    ("QuarantineRow", "next(folder.iter_quarantine())", "detail", "details"),
    ("ManifestRecord", "folder.manifests()[0]", "generated", "genrated"),
    ("ReceivedRecord", 'folder.manifests()[0]["received"]', "unanswered", "unanswerd"),
    ("MatchRow", "match_run(path, path)[0]", "closest_seed", "closest_sed"),
    ("NeighborRow", '(folder.matches() or [])[0]["neighbors"][0]', "index", "idx"),
    ("MatchRecord", "record", "distance", "metric"),
    ("ResizeRecord", "resize", "method", "methode"),
    ("TruthEntry", "read_truth(path, [])[0]", "expected", "expect"),
    ("EvaluatedPrompt", 'evaluate_run(path)["prompts"][0]', "right_image", "wright_image"),
    ("Stage", 'evaluate_run(path)["stages"]["candidates"]', "recall_at_zero_fp", "recall_at_zero"),
]
SNIPPET = """
from pathlib import Path
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.evaluation.truth import read_truth
from memcore.matching.match_run import match_run
from memcore.runs.folder import RunFolder
from memcore.runs.rows import MatchRecord, QuarantineRow, ResizeRecord

path = Path()
folder = RunFolder.open(path)
record: MatchRecord
resize: ResizeRecord
written: QuarantineRow = {{"prompt_id": 1, "source": "a", "reason": "b", "{detail}": "c"}}
{reads}
"""


@pytest.mark.slow
def test_a_misspelt_column_is_an_error_of_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    reads = [f'{value}["{column}"]' for _, value, column, _ in READERS]
    right.write_text(SNIPPET.format(detail="detail", reads="\n".join(reads)))
    reads = [f'{value}["{misspelt}"]' for _, value, _, misspelt in READERS]
    wrong.write_text(SNIPPET.format(detail="detial", reads="\n".join(reads)))
    command = [
        sys.executable,
        "-m",
        "mypy",
        str(right),
        str(wrong),
    ]  # with the cache of the linter, if it ran
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert not [line for line in errors if "wrong.py" not in line], done.stdout
    for name, _, _, misspelt in READERS:
        assert any(f'TypedDict "{name}" has no key "{misspelt}"' in line for line in errors), (
            name,
            done.stdout,
        )
    assert any('Extra key "detial" for TypedDict "QuarantineRow"' in line for line in errors), done.stdout
    assert len(errors) == len(READERS) + 1 + 1, (
        done.stdout
    )  # the misspelt written column is also a missing one


def test_every_row_is_tried() -> None:
    named: list[Any] = [name for name in vars(rows) if name.endswith(("Row", "Record"))]
    assert set(named) <= {name for name, *_ in READERS}
