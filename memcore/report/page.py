"""Assemble the page from its sections, and write it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from memcore.errors import MissingExtraError
from memcore.report import wording
from memcore.report.run import read_run
from memcore.report.sections import load_sections
from memcore.report.sections.verdict import headline
from memcore.report.subject import Subject, make_subject
from memcore.runs import layout
from memcore.runs.derived import REPORT_FORMAT
from memcore.runs.freshness import inputs_of_report
from memcore.storage.digests import combine, digest_bytes, seal
from memcore.system.atomic_files import check_no_links, remove_file, write_output

if TYPE_CHECKING:
    import jinja2

#: A placeholder for the page's size until that is known; wording.tidy takes control characters out of everything else.
_SIZE = "\x00size\x00"


class RenderedSection(NamedTuple):
    """A section of this page; ``html`` is None where the run has nothing for it."""

    name: str
    order: int
    label: str | None
    html: str | None


def write_report(run: Path, *, compare: Sequence[Path] = ()) -> Path:
    """Write RUN/report/index.html, and report.json with what it was made from, and return the page's path.

    One file, at most 30 MB, that opens without a network and runs no script. It works at any stage of the run: without
    matches it shows candidates, without an evaluation no curves. ``compare`` are other runs of the same model; those of
    their cliques that are not extractions get a section. The same runs give the same bytes.

    Raises RunError if a folder is not a run, or is damaged; MissingExtraError without jinja2, pyarrow or pillow.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingExtraError("jinja2", "report", "The report") from None
    subject = make_subject(read_run(Path(run)), [read_run(Path(path)) for path in compare])
    target, record = subject.run.path / layout.REPORT_PAGE, subject.run.path / layout.REPORT_RECORD
    for written in (target, record):
        check_no_links(subject.run.path, written)
    data = render(subject).encode()
    made_from = inputs_of_report(subject.run.state)
    made_from["compared"] = [
        combine({"run": o.digest, "findings": o.state.findings}) for o in subject.compared
    ]
    files = {layout.REPORT_PAGE: digest_bytes(data)}
    remove_file(record)  # a page without a record says nothing of what it was made from
    write_output(target, data)
    sealed = seal({"format": REPORT_FORMAT, "made_from": made_from, "files": files})
    write_output(record, json.dumps(sealed, indent=1).encode())
    return target


def render(subject: Subject) -> str:
    """Return the page."""
    environment = _environment(subject)
    css = _read("page.css")
    page = environment.get_template("page.html").render(
        css=css,
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        headline=headline(subject.run),
        sections=_render_sections(environment, subject),
        size=_SIZE,
    )
    return page.replace(_SIZE, wording.size(len(page.encode())))


def _render_sections(environment: jinja2.Environment, subject: Subject) -> list[RenderedSection]:
    # All contexts before all templates: the findings say how many pictures of all sections did not fit.
    sections = [(section, section.context(subject)) for section in load_sections()]
    return [
        RenderedSection(
            section.name,
            section.order,
            section.label,
            None if context is None else environment.get_template(section.template).render(context),
        )
        for section, context in sections
    ]


def _environment(subject: Subject) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(run=subject.run, pictures=subject.pictures)
    environment.filters.update(
        tidy=wording.tidy, count=wording.count, percent=wording.percent, proportion=wording.proportion
    )
    return environment


def _read(name: str) -> str:
    return files("memcore.report").joinpath(name).read_text("utf-8")
