"""The pages of the study that are written from code: every key of a protocol, and the figures of a study."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from memcore.study.folder import StudyFolder
from memcore.study.protocols import protocol as p
from tests.support.study_runs import do
from tests.support.study_sets import write_tiny

ROOT = Path(__file__).parents[2]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_every_key_of_a_protocol_as_the_code_has_it() -> None:
    page = (ROOT / "docs" / "reference" / "protocols.md").read_text("utf-8")
    assert _script("protocols").with_tables(page) == page, "run python docs/site/protocols.py"
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    kinds = (
        p.DataSpec,
        p.Factors,
        p.Group,
        p.ExtractionSpec,
        p.MembershipSpec,
        p.InpaintingSpec,
        p.QualitySpec,
        p.CanarySpec,
    )
    assert {field.name for kind in kinds for field in dataclasses.fields(kind)} <= listed


def test_the_figures_of_a_study_are_written_between_the_marks(tmp_path: Path) -> None:
    script = _script("study_figures")
    page = (ROOT / "docs" / "study.md").read_text("utf-8")
    assert page.count(script.START) == page.count(script.END) == 1
    study = tmp_path / "study"
    do(write_tiny(tmp_path), study)
    written = script.figures(str(study), "abc123")
    assert "4 of 4 models" in written
    assert "commit abc123" in written
    for letter in "abcdefghi":
        assert f"| ({letter}) |" in written
    manifest = json.loads(next((study / "manifest").iterdir()).read_text())
    assert f"torch {manifest['torch']}" in written
    twice = script.with_figures(script.with_figures(page, "before"), written)
    assert twice == script.with_figures(page, written)
    assert "before" not in twice.partition(script.START)[2].partition(script.END)[0].splitlines()
    assert StudyFolder.open(str(study)).missing_tables() == {}


@pytest.mark.parametrize("name", ["protocols", "study_figures"])
def test_the_scripts_name_their_page(name: str) -> None:
    assert _script(name).PAGE.is_file()
