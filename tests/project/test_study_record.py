"""The figures of docs/study.md follow from the tables that are kept beside it."""

from __future__ import annotations

import importlib.util
import re
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra models)")
pytest.importorskip("scipy", reason="scipy is not installed (extra models)")

DOCS = Path(__file__).parents[2] / "docs"


def test_the_recorded_study_gives_the_figures_on_its_page(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("study_figures", DOCS / "site" / "study_figures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with tarfile.open(DOCS / "records" / "study-laptop.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    page = (DOCS / "study.md").read_text()
    shown = page.partition(script.START)[2].partition(script.END)[0].strip()
    commit = re.search(r"commit ([0-9a-f]{7})", shown)
    assert commit is not None
    assert script.figures(str(tmp_path / "study-laptop"), commit[1]).strip() == shown
    assert shown.count("| shown |") == 18
