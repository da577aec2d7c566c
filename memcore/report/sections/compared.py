"""Other runs of the same model: those of their cliques that are not extractions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypedDict

from memcore.matching.metric import metric_label
from memcore.report.drawing import plots
from memcore.report.finding import STRIP, Finding, make_finding, read_findings
from memcore.report.pictures import Album
from memcore.report.run import Run
from memcore.report.subject import Subject
from memcore.report.wording import differences, listed

ORDER = 50
LABEL = "Cliques that are not extractions"
#: Findings shown of each run, and bytes of the page that the pictures of all compared runs may take.
FINDINGS = 12
PICTURE_BYTES = 3 << 20


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Another run: how its settings differ, how many of its candidates are extractions, and those that are not.

    ``extracted`` is None before matching. ``more`` findings are not shown.
    """

    changed: str
    prompts: int
    matched: bool
    candidates: int
    extracted: int | None
    findings: list[Finding]
    more: int
    min_clique: int
    metric: str
    delta: float | None
    plot: str | None


class Compared(TypedDict):
    """What the template shows."""

    comparisons: list[Comparison]


def context(subject: Subject) -> Compared | None:
    """Return the comparisons, None without other runs."""
    if not subject.compared:
        return None
    album = subject.pictures.open_album(PICTURE_BYTES, len(subject.compared) * FINDINGS * (STRIP + 1))
    return {"comparisons": [_compare(n, subject, other, album) for n, other in enumerate(subject.compared)]}


def _compare(number: int, subject: Subject, other: Run, album: Album) -> Comparison:
    findings = read_findings(other, album, pictured=0)
    unproven = [f.rank for f in findings if not f.extracted]
    shown = [make_finding(other, rank, album, {}, strip=STRIP) for rank in unproven[:FINDINGS]]
    return Comparison(
        changed=listed(differences(subject.run.settings, other.settings)),
        prompts=other.done,
        matched=other.matches is not None,
        candidates=len(other.findings),
        extracted=other.extracted_prompts,
        findings=shown,
        more=len(unproven) - len(shown),
        min_clique=other.min_clique,
        metric=metric_label(other.distance),
        delta=other.delta,
        plot=_plot(number, subject.run, subject.findings, other, findings),
    )


def _plot(
    number: int, run: Run, own: Sequence[Finding], other: Run, foreign: Sequence[Finding]
) -> str | None:
    """Draw the cliques of both runs by their distances to training; None if one was not matched, or differently."""
    if run.matches is None or other.matches is None or other.delta is None or other.distance is None:
        return None
    if (run.distance, run.delta) != (other.distance, other.delta):
        return None
    points = [
        plots.CliquePoint(
            f.mean_distance, f.match.distances[other.distance], f.match.extracted, is_other, f.prompt
        )
        for is_other, findings in ((False, own), (True, foreign))
        for f in findings
        if f.match
    ]
    threshold = max(run.threshold, other.threshold)
    name, metric = f"plot-compared-{number}", metric_label(other.distance)
    return plots.clique_against_match(name, points, threshold, float(other.delta), metric)
