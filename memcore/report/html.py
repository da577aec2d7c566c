"""Renders the page and writes it."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from memcore.errors import MissingExtraError
from memcore.report import budget, content, evaluation, people, plots, wording
from memcore.report.pictures import Album
from memcore.report.reader import Run, read_run
from memcore.system.atomic_files import write_atomic

PAPER = "https://arxiv.org/abs/2301.13188"
#: Bytes of the page that pictures may take: those of the run, and those of all compared runs together.
PICTURE_BYTES = 16 << 20
COMPARED_PICTURE_BYTES = 3 << 20
#: Stands for the page's size until that is known; wording.tidy takes control characters out of everything else.
_SIZE = "\x00size\x00"


def write_report(run: Path, *, compare: Sequence[Path] = ()) -> Path:
    """Writes RUN/report/index.html and returns its path.

    One file, at most 30 MB, that opens without a network and runs no script. It works at any stage of the run: without
    matches it shows candidates, without an evaluation no curves. ``compare`` are other runs of the same model; those of
    their cliques that are no extractions get a section. The same runs give the same bytes.

    Raises RunError if a folder is no run, or damaged; MissingExtraError without jinja2, pyarrow or pillow.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("jinja2", "report", "The report") from None
    run = Path(run)
    read = read_run(run)
    others = [read_run(Path(path)) for path in compare]
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        tidy=wording.tidy,
        count=wording.count,
        percent=wording.percent,
        proportion=wording.proportion,
        listed=wording.listed,
    )
    page = environment.get_template("page.html").render(_context(read, others))
    target = run / "report" / "index.html"
    write_atomic(target, _with_size(page).encode())
    return target


def _template(name: str) -> str:
    return files("memcore.report").joinpath(name).read_text("utf-8")


def _context(run: Run, others: Sequence[Run]) -> dict[str, Any]:
    """All names that page.html uses."""
    album = Album(PICTURE_BYTES, content.pictures_wanted(len(run.findings)))
    side_album = Album(COMPARED_PICTURE_BYTES, max(1, len(others)) * content.COMPARED * (content.STRIP + 1))
    findings = content.findings_of(run, album)
    compared = [content.compared(run, other, side_album) for other in others]
    css = _template("page.css")
    return {
        "css": css,
        "css_hash": base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        "paper": PAPER,
        "run": run,
        "origin": _origin(run),
        "headline": content.headline(run),
        "verdict": content.verdict(run, findings),
        "figures": content.key_figures(run),
        "wall": [f for f in findings if f.extracted and f.training and f.copies and f.copies[0].picture][
            : content.WALL
        ],
        "findings": findings[: content.PICTURED],
        "others": findings[content.PICTURED :],
        "left_out": len(run.findings) - len(findings),
        "plots": _plots(run, findings),
        "evaluation": run.evaluation,
        "missed": content.missed(run),
        "annotations": people.judgements(run),
        "compared": [
            {**section, "plot": _compared_plot(number, run, findings, other, section)}
            for number, (other, section) in enumerate(zip(others, compared, strict=True))
        ],
        "reasons": content.REASONS,
        "examples": content.EXAMPLES,
        "cost": content.cost(run),
        "budget": budget.budget(run),
        "screens": _screens(run),
        "against": evaluation.against(run.evaluation),
        "counted": evaluation.lead(run.evaluation) if run.evaluation else "",
        "planted": evaluation.planted(run.evaluation),
        "sweep": evaluation.sweep(run.evaluation, run.threshold, run.min_clique),
        "settings": wording.flattened({k: v for k, v in run.settings.items() if k != "config"}),
        "config": wording.flattened(run.settings.get("config", {})),
        "metric": content.metric(run),
        "delta": run.match.get("delta"),
        "distinct": content.extracted_images(run),
        "refused": album.refused + side_album.refused,
        "pictures": album.count + side_album.count,
        "page_size": _SIZE,
    }


def _origin(run: Run) -> str:
    """What was audited and when, in one line."""
    describe = run.settings.get("sampler", {}).get("describe", {})
    parts = [str(describe.get("pipeline") or run.settings.get("sampler", {}).get("kind", ""))]
    created = str(run.settings["run"].get("created", ""))
    try:
        date = datetime.datetime.fromisoformat(created).date()
        parts.append(f"started {date.day} {date:%B %Y}")
    except ValueError:
        parts.append(created)
    parts.append(f"run {str(run.settings['run'].get('digest', ''))[:12]}")
    return " · ".join(wording.tidy(part) for part in parts if part)


def _plots(run: Run, findings: Sequence[content.Finding]) -> list[dict[str, str]]:
    """What can be drawn at this stage."""
    drawn = []
    if run.evaluation:
        drawn.append(
            {
                "svg": plots.precision_recall(run.evaluation["stages"], run.evaluation["positives"]),
                "title": "Precision and recall",
                "text": "Down the ranking by mean distance. Each dot is a finding; the cross spans the "
                f"{content.confidence(run)} intervals where the curve ends.",
            }
        )
    if run.evaluation and evaluation.planted(run.evaluation):
        drawn.append(
            {
                "svg": plots.share_against_copies(run.evaluation["prompts"]),
                "title": "More duplicates, more copies",
                "text": "Each dot is a prompt, the diamonds are means.",
            }
        )
    if findings:
        values = [(f.ranked_by, f.extracted) for f in findings]
        drawn.append(
            {
                "svg": plots.histogram(values, run.threshold),
                "title": "How alike the copies are",
                "text": "The ranking key: the smaller the mean distance, the surer the finding.",
            }
        )
    return drawn


def _screens(run: Run) -> dict[str, str] | None:
    """The ROC of the screens; None without scores."""
    curves = budget.screen_curves(run)
    if not curves:
        return None
    name, first = next(iter(curves.items()))
    return {
        "title": "One step against the full attack",
        "svg": plots.screens(curves),
        "text": f"Candidates of the full attack against all other prompts. With the {name}, a threshold of "
        f"{first['keep_all']:.4g} would have lost no candidate and spared {wording.percent(first['spared'] or 0.0)} of the "
        f"{first['negatives']:,} other prompts.",
    }


def _compared_plot(
    number: int, run: Run, findings: Sequence[content.Finding], other: Run, section: dict[str, Any]
) -> str | None:
    """The cliques of both runs against their distances to training; None if one was not matched, or differently."""
    key, delta = str(other.match.get("distance", "")), other.match.get("delta")
    same = run.match.get("distance") == key and run.match.get("delta") == delta
    if run.matches is None or other.matches is None or not same or delta is None:
        return None
    points = [
        (f.mean_distance, float(f.match[key]), bool(f.extracted), foreign, f.prompt)
        for foreign, own in ((False, findings), (True, section["all"]))
        for f in own
        if f.match
    ]
    threshold = max(run.threshold, other.threshold)
    return plots.clique_against_match(
        f"plot-compared-{number}", points, threshold, float(delta), content.metric(other)
    )


def _with_size(page: str) -> str:
    """The page with its own size filled in."""
    return page.replace(_SIZE, wording.size(len(page.encode())))
