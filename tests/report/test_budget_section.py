"""The page of runs that stop early or screen their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memcore.audit import audit
from memcore.report.run import read_run
from memcore.report.sections.budget import context, screen_curves
from memcore.report.subject import make_subject
from memcore.runs.config import Config
from memcore.sampling import FirstStep
from memcore.types import Request
from tests.support.report_page import render_page
from tests.support.samplers import COPY_RATES, RatedSampler, Screenable
from tests.support.synthetic import PROMPTS


def sequential_run(path: Path) -> Path:
    config = Config(source="custom", budget="sequential", generations=200, copy_rate=0.2, batch_size=32)
    return audit(path, config, sampler=RatedSampler(), prompts=list(COPY_RATES), quiet=True).path


def test_stops_and_savings_are_those_of_the_findings(tmp_path: Path) -> None:
    run = sequential_run(tmp_path / "run")
    section = context(make_subject(read_run(run), []))
    assert section is not None
    assert {row.stop: row.prompts for row in section["endings"]} == {"found": 3, "hopeless": 9}
    assert section["of"] == 12 * 200
    assert section["images"] == sum(row.images for row in section["endings"])
    text = render_page(run).text("budget")
    assert f"{section['images']:,} images were made where the fixed rule makes 2,400" in text
    assert f"{100 * (1 - section['images'] / 2400):.0f} % were saved" in text
    assert "in at least 20 % of their images" in text
    assert "at most 1.0 % are expected to be lost" in text
    assert "Prompts with fewer copies have no such bound" in text


def test_a_fixed_run_has_no_budget_section(audited: Path) -> None:
    assert context(make_subject(read_run(audited), [])) is None
    assert 'id="budget"' not in render_page(audited).html


def test_screened_prompts_are_counted_and_the_scores_drawn(tmp_path: Path) -> None:
    options = {"source": "custom", "generations": 40, "batch_size": 16, "screen": "noise_magnitude"}
    recorded = Config(**options)  # type: ignore[arg-type]
    run = audit(tmp_path / "all", recorded, sampler=Screenable(), prompts=PROMPTS, quiet=True).path
    curves = screen_curves(read_run(run))
    assert {name: curve.area for name, curve in curves.items()} == {
        "noise magnitude": 1.0,
        "one-step": 1.0,
    }
    page = render_page(run)
    assert "only recorded its scores; it left no prompt out" in page.text("budget")
    assert "One step against the full attack" in page.html
    assert (
        "a threshold of 3.5 would have lost no candidate and spared 100 % of the 5 other prompts" in page.html
    )
    applied = Config(**options, screen_threshold=2.0)  # type: ignore[arg-type]
    run = audit(tmp_path / "some", applied, sampler=Screenable(), prompts=PROMPTS, quiet=True).path
    text = render_page(run).text("budget")
    assert "The screen left out 5 prompts with a noise magnitude score below 2" in text
    assert "What it may have lost is not known" in text
    assert screen_curves(read_run(run)) == {}


class HalfScreenable(Screenable):
    """A sampler whose screen also keeps a prompt that is not memorised."""

    def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
        step = super().first_step(requests, guidance_scale=guidance_scale)
        kept = np.array([request.prompt == "rain" for request in requests])
        return FirstStep(step.noise_magnitude + 2 * kept, step.one_step)


def test_no_curve_is_drawn_over_the_prompts_that_a_screen_kept(tmp_path: Path) -> None:
    """Those that it left out have no result: N-W8."""
    config = Config(
        source="custom", generations=40, batch_size=16, screen="noise_magnitude", screen_threshold=2.0
    )
    run = audit(tmp_path / "run", config, sampler=HalfScreenable(), prompts=PROMPTS, quiet=True).path
    read = read_run(run)
    assert read.scores is not None
    assert sorted(read.scores.found) == [False, True, True], "a curve could be drawn"
    page = render_page(run)
    assert "One step against the full attack" not in page.html
    assert "No curve of its scores is drawn" in page.text("budget")
    text = page.text()
    assert "prompts 7 4 screened out" in text
    assert "For each of the 3 prompts that were sampled, 40 images were made" in text
    assert "Prompts 7 3 decided none 4 screened out" in page.text("coverage")
