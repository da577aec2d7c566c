"""The section on what people said, against labels that are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memcore.errors import RunError
from memcore.report import write_report
from memcore.report.run import Run, read_run
from memcore.report.sections.annotations import read_judgements
from memcore.runs.annotations import FILE, Annotations
from tests.support.report_page import Page


@pytest.fixture
def annotated(run: Path, tmp_path: Path) -> Run:
    """Label 18 findings, of which one is no extraction; the second is disputed, one annotator alone saw the last."""
    shutil.copytree(run, tmp_path / "run")
    read = read_run(tmp_path / "run")
    items = [(int(row["prompt_id"]), 0) for row in read.findings]
    digest = str(read.settings["run"]["digest"])
    with Annotations.create(read.path, digest, items) as opened:
        for item, (prompt_id, _) in enumerate(items):
            extracted = read.matches is not None and read.matches[prompt_id][0]["extracted"]
            opened.append(f"1-{item}", 1, item, "copy" if extracted else "no")
            if item != len(items) - 1:
                opened.append(f"2-{item}", 2, item, "no" if item == 1 or not extracted else "copy")
        opened.append("again", 2, 2, "unsure")
    return read


def labelled(run: Run) -> Page:
    return Page(write_report(run.path).read_text("utf-8"))


def test_counts_and_kappa(annotated: Run) -> None:
    judgements = read_judgements(annotated)
    assert judgements is not None
    n = len(annotated.findings)
    extracted = [
        i
        for i, row in enumerate(annotated.findings)
        if annotated.matches[int(row["prompt_id"])][0]["extracted"]
    ]  # type: ignore[index]
    assert (n, len(extracted)) == (18, 17)
    assert [a.all for a in judgements.annotators] == [n, n - 1]
    # both: 17 items, of which copy-copy 13 or 14 (the last item may be the one that is no extraction)
    last_is_copy = n - 1 in extracted
    same = 17 - 2 - (1 if last_is_copy else 0)
    assert judgements.matrix is not None
    assert judgements.matrix[0][0] == same
    assert [(d.rank, d.first, d.second, d.machine) for d in judgements.disagreements] == [
        (2, "copy", "no", "extracted"),
        (3, "copy", "unsure", "extracted"),
    ]
    with Annotations.open(annotated.path) as opened:
        kappa = opened.agreement().kappa
    assert kappa is not None
    assert f"Cohen's kappa {kappa:.3f}" in judgements.lead
    table = {row.machine: dict(zip(judgements.columns, row.counts, strict=True)) for row in judgements.rows}
    assert table["extracted"] == {"a copy": 16, "no copy": 0, "they disagree": 1}
    assert table["not extracted"] == {"a copy": 0, "no copy": 1, "they disagree": 0}
    assert judgements.against == (
        "People decided on 16 extractions and call 16 of these a copy. "
        "They decided on 1 candidate outside the extractions and call none a copy."
    )


def test_the_page_shows_it_and_links_the_disputed_findings(annotated: Run) -> None:
    page = labelled(annotated)
    text = page.text("annotations")
    assert "What people say" in text
    assert "they disagree" in text
    assert "Where they disagree" in text
    assert {"#finding-2", "#finding-3", "#annotations"} <= {a["href"] for a in page.all("a")}


def test_no_section_without_labels(run: Path, annotated: Run, tmp_path: Path) -> None:
    assert read_judgements(read_run(run)) is None
    assert "annotations" not in Page(write_report(run).read_text("utf-8")).texts
    (annotated.path / FILE).unlink()
    items = [(int(row["prompt_id"]), 0) for row in annotated.findings]
    with Annotations.create(annotated.path, str(annotated.settings["run"]["digest"]), items) as opened:
        assert read_judgements(annotated) is None
        opened.append("a", 2, 0, "unsure")
    judgements = read_judgements(annotated)
    assert judgements is not None
    assert (judgements.matrix, judgements.disagreements) == (None, [])
    assert judgements.lead == "No finding was judged by both, so that nothing can be said of their agreement."
    assert "There is no disagreement" not in labelled(annotated).text("annotations")


def test_labels_of_another_run_are_refused(annotated: Run) -> None:
    (annotated.path / FILE).unlink()
    Annotations.create(annotated.path, "another", [(0, 0)]).close()
    with pytest.raises(RunError, match="belongs to another run"):
        write_report(annotated.path)
