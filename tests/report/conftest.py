"""Runs and pages that the report's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from memcore.audit import audit
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from tests.support.report_page import Page, render_page
from tests.support.report_runs import write_guidance_run, write_run
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_guidance_run(tmp_path_factory.mktemp("trap") / "guidance")


@pytest.fixture(scope="module")
def page(run: Path, trap: Path) -> Page:
    return render_page(run, trap)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run by the audit itself, matched and evaluated."""
    folder = tmp_path_factory.mktemp("audited")
    config = Config(source="custom", generations=40, batch_size=16)
    done = audit(folder / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    match_run(done.path, write_training_set(folder))
    evaluate_run(done.path, folder / "truth.json")
    return done.path
