"""What the page of a study says: findings, pictures and what was left out, in words and written numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from memcore._version import __version__
from memcore.report.pictures import Pictures
from memcore.report.wording import listed
from memcore.study.findings.base import Estimate, Finding, Missing
from memcore.study.findings.beside import Beside
from memcore.study.findings.plot import Table
from memcore.study.findings.reading import Study
from memcore.study.report.draw import Key, draw, legend
from memcore.study.report.hits import Wall, Walls
from memcore.system.units import count

#: Rows of a table that the page shows, and failed models that it lists.
ROWS, FAILED = 60, 20
DASH = "–"


@dataclasses.dataclass(frozen=True)
class PartText:
    """One part of a finding as it is written; ``values`` are those of the seeds, in order."""

    name: str
    claim: str
    unit: str
    mean: str
    interval: str
    verdict: str
    floored: bool
    values: Sequence[str]


@dataclasses.dataclass(frozen=True)
class ControlText:
    """A control as it is written."""

    name: str
    value: str


@dataclasses.dataclass(frozen=True)
class TableText:
    """A table as it is written; ``more`` rows are not shown."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: int


@dataclasses.dataclass(frozen=True)
class FindingText:
    """A finding as it is written."""

    letter: str
    title: str
    verdict: str
    settled: bool
    lacking: bool
    sentence: str
    reason: str
    n: str
    seeds: int
    planned: int
    p: str
    parts: Sequence[PartText]
    controls: Sequence[ControlText]
    seed_names: Sequence[int]
    svg: str
    key: Sequence[Key]
    caption: str
    table: TableText | None
    notes: Sequence[str]
    models: Sequence[str]
    missing: Sequence[Missing]


@dataclasses.dataclass(frozen=True)
class BesideText:
    """Figures without a verdict as they are written."""

    name: str
    title: str
    sentence: str
    svg: str
    key: Sequence[Key]
    caption: str
    table: TableText
    notes: Sequence[str]


@dataclasses.dataclass(frozen=True)
class GroupText:
    """A group of the protocol and how far it is."""

    name: str
    findings: str
    planned: int
    done: int
    unfinished: int
    failed: int


@dataclasses.dataclass(frozen=True)
class Content:
    """Everything that the page's template shows."""

    headline: str
    protocol: str
    sentences: Sequence[str]
    notices: Sequence[str]
    findings: Sequence[FindingText]
    beside: Sequence[BesideText]
    pictures: Sequence[Wall]
    pictures_from: str
    pictures_refused: int
    picture_count: int
    left_out: str
    independence: str
    groups: Sequence[GroupText]
    failed: Sequence[Missing]
    more_failed: int
    version: str


def make_content(
    study: Study, findings: Sequence[Finding], beside: Sequence[Beside], walls: Walls, pictures: Pictures
) -> Content:
    """Return the content of the page. ``pictures`` are those that ``walls`` embedded."""
    missing = study.missing(study.specs)
    failed = [m for m in missing if m.state == "failed"]
    return Content(
        headline=headline(findings),
        protocol=" · ".join(filter(None, (f"protocol {study.protocol.name}", study.protocol.about))),
        sentences=_sentences(study, findings),
        notices=_notices(missing, findings),
        findings=[_finding(finding) for finding in findings],
        beside=[_beside(figures) for figures in beside],
        pictures=walls.walls,
        pictures_from=f"Chosen from {count(walls.models, 'model')} of {count(walls.settings, 'setting')} with a hit.",
        pictures_refused=walls.refused,
        picture_count=pictures.count,
        left_out=_left_out(study, missing, findings),
        independence=independence(study),
        groups=_groups(study),
        failed=failed[:FAILED],
        more_failed=max(0, len(failed) - FAILED),
        version=__version__,
    )


def headline(findings: Sequence[Finding]) -> str:
    """Return what the study shows, in one line.

    >>> headline([])
    'No finding was looked for'
    """
    if not findings:
        return "No finding was looked for"
    shown = sum(f.verdict == "shown" for f in findings)
    opposite = sum(f.verdict == "opposite" for f in findings)
    open_ = sum(not f.settled and bool(f.measured.missing) for f in findings)
    text = f"{shown} of {len(findings)} findings shown"
    more = [*([f"{opposite} opposite"] if opposite else []), *([f"{open_} still open"] if open_ else [])]
    return f"{text}, {' and '.join(more)}" if more else text


def _sentences(study: Study, findings: Sequence[Finding]) -> list[str]:
    done = sum(study.is_done(spec) for spec in study.specs)
    verdicts = {
        "Shown": [f.letter for f in findings if f.verdict == "shown"],
        "Opposite to the paper's": [f.letter for f in findings if f.verdict == "opposite"],
        "Not shown": [
            f.letter
            for f in findings
            if f.verdict == "not shown" and not f.measured.missing and not f.measured.lacking
        ],
        "Not shown yet": [f.letter for f in findings if not f.settled and f.measured.missing],
        "Not measured by this protocol": [f.letter for f in findings if f.measured.lacking],
    }
    told = "; ".join(
        f"{name.lower() if i else name}: {listed([f'({x})' for x in letters], 9)}"
        for i, (name, letters) in enumerate((n, ls) for n, ls in verdicts.items() if ls)
    )
    seeds = sorted({spec.seed for spec in study.specs})
    return [
        f"{count(done, 'model')} of {len(study.specs):,} are done, of {count(len(seeds), 'seed')}.",
        f"{told}." if told else "",
    ]


def _notices(missing: Sequence[Missing], findings: Sequence[Finding]) -> list[str]:
    unfinished = sum(m.state == "unfinished" for m in missing)
    failed = len(missing) - unfinished
    waiting = [f"({f.letter})" for f in findings if f.measured.missing]
    notices = []
    if unfinished:
        notices.append(
            f"Unfinished: {count(unfinished, 'model')} not done yet. Figures are those of the complete seeds, "
            f"and the verdict of "
            f"{listed(waiting, 9) or 'no finding'} waits."
        )
    if failed:
        notices.append(
            f"{count(failed, 'model')} failed. A seed with a failed model does not count, and a finding that "
            f"needs it is not decided."
        )
    return notices


def _left_out(study: Study, missing: Sequence[Missing], findings: Sequence[Finding]) -> str:
    failed = sum(m.state == "failed" for m in missing)
    used = {model for f in findings for model in f.measured.models}
    done = [spec.id for spec in study.specs if study.is_done(spec)]
    idle = [model for model in done if model not in used]
    reasons: dict[str, list[str]] = {}
    for f in findings:
        if f.measured.lacking:
            reasons.setdefault(f.measured.lacking, []).append(f"({f.letter})")
    lacking = "".join(f" Not measured: {listed(letters, 9)}, {why}" for why, letters in reasons.items())
    text = (
        f"Of {count(len(study.specs), 'planned model')}, {len(done):,} are done, {len(missing) - failed:,} unfinished and "
        f"{failed:,} failed."
    )
    if idle:
        text += (
            f" {count(len(idle), 'model')} of those done are in no figure of this page: another model of their "
            f"seed is missing, or no "
            "finding reads them."
        )
    elif done:
        text += " Each of those done is in a figure of this page."
    return text + lacking


def independence(study: Study) -> str:
    """Say whether the seeds are independent: where each has a block of the data of its own."""
    whole = sorted(
        {spec.factors.data for spec in study.specs if study.protocol.data[spec.factors.data].block == 0}
    )
    if not whole:
        return "The models of two seeds share no image."
    return (
        f"The models of two seeds may share images of {listed(whole)}, so that an interval holds for these "
        f"images, not for others."
    )


def _groups(study: Study) -> list[GroupText]:
    rows = []
    for group in study.protocol.groups:
        states = [study.states.get(s.id, "unfinished") for s in study.specs if group.name in s.groups]
        counts: dict[str, int] = {state: states.count(state) for state in ("done", "unfinished", "failed")}
        letters = ", ".join(f"({letter})" for letter in group.findings)
        rows.append(
            GroupText(
                group.name,
                letters or DASH,
                len(states),
                counts["done"],
                counts["unfinished"],
                counts["failed"],
            )
        )
    return rows


def _finding(finding: Finding) -> FindingText:
    measured = finding.measured
    plot = measured.plot
    seeds = sorted({seed for part in measured.parts for seed in part.values})
    return FindingText(
        letter=finding.letter,
        title=finding.title,
        verdict=finding.verdict,
        settled=finding.settled or not measured.missing,
        lacking=bool(measured.lacking),
        sentence=measured.sentence.replace(" %", "\u00a0%"),
        reason=finding.reason,
        n=finding.n,
        seeds=finding.seeds,
        planned=len(set(measured.planned)),
        p=_p(finding),
        parts=[
            PartText(
                part.name,
                part.claim,
                part.unit,
                DASH if found.mean is None else signed(found.mean),
                _interval(found),
                found.verdict,
                found.floored,
                [signed(part.values[seed]) if seed in part.values else DASH for seed in seeds],
            )
            for part, found in zip(measured.parts, finding.estimates, strict=True)
        ],
        controls=[
            ControlText(
                control.name,
                "not measured"
                if control.value is None
                else f"{number(control.value)} (mean of {control.n:,})",
            )
            for control in measured.controls
        ],
        seed_names=seeds,
        svg="" if plot is None else draw(plot, f"plot-{finding.letter}"),
        key=[] if plot is None else legend(plot),
        caption="" if plot is None else plot.caption,
        table=None if measured.table is None else _table(measured.table),
        notes=measured.notes,
        models=list(measured.models),
        missing=measured.missing,
    )


def _beside(figures: Beside) -> BesideText:
    plot = figures.plot
    return BesideText(
        figures.name,
        figures.title,
        figures.sentence.replace(" %", "\u00a0%"),
        "" if plot is None else draw(plot, f"plot-{figures.name}"),
        [] if plot is None else legend(plot),
        "" if plot is None else plot.caption,
        _table(figures.table),
        figures.notes,
    )


def signed(value: float) -> str:
    """Write a number of a part, whose sign decides.

    >>> signed(0.31), signed(-0.004)
    ('+0.310', '−0.004')
    """
    return f"{value:+.3f}".replace("-", "−")


def number(value: Any) -> str:
    """Write a cell of a table.

    >>> number(1234), number(0.25), number(None), number("a")
    ('1,234', '0.250', '–', 'a')
    """
    if value is None:
        return DASH
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) >= 10
        digits = 0 if whole else 3 if abs(value) < 100 else 1
        return f"{value:,.{digits}f}".replace("-", "−")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return DASH
    return f"{signed(found.low)}\u00a0to\u00a0{signed(found.high)}"


def _p(finding: Finding) -> str:
    if not finding.settled:
        return DASH
    return "< 0.001" if finding.p_holm < 0.001 else f"{finding.p_holm:.3f}"


def _table(table: Table) -> TableText:
    rows = [[number(cell) for cell in row] for row in table.rows[:ROWS]]
    return TableText(table.columns, rows, max(0, len(table.rows) - ROWS))
