"""Assemble the page of a study, and write it with its figures as JSON."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcore._version import __version__
from memcore.errors import MissingExtraError
from memcore.report import wording
from memcore.report.pictures import Pictures
from memcore.runs.tables import parquet_bytes
from memcore.study.findings import finding_as_dict, judge_study
from memcore.study.findings.base import Finding
from memcore.study.findings.beside import Beside, measure_beside
from memcore.study.findings.reading import Study
from memcore.study.findings.scores import score_tables
from memcore.study.report.content import make_content
from memcore.study.report.hits import read_walls
from memcore.system.atomic_files import remove_file, write_output

if TYPE_CHECKING:
    import jinja2

PAGE, FIGURES = "report/index.html", "report/findings.json"
FORMAT = 1
#: Bytes of the page that pictures may take.
PICTURE_BYTES = 8 << 20
#: A placeholder for the page's size until that is known; wording.tidy takes control characters out of everything else.
_SIZE = "\x00size\x00"


def write_study_report(folder: Path, study: Study) -> Path:
    """Write the page of a study, FOLDER/report/index.html, and return its path.

    It is one file that opens without a network and runs no script. Beside it are findings.json, and the scores and curves of
    the membership attacks. It works at any stage of the study: a finding whose seeds are not all complete is "not shown
    yet". The same tables give the same bytes.

    Raises RunError if a table is damaged or lacks its control; MissingExtraError without jinja2, pyarrow, pillow or scipy.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingExtraError("jinja2", "report", "The report") from None
    findings = judge_study(study)
    beside = measure_beside(study)
    page = render(study, findings, beside).encode()
    figures = json.dumps(as_json(study, findings, beside), indent=1, allow_nan=False).encode()
    remove_file(folder / FIGURES)  # figures of another page would be read as this one's
    write_output(folder / PAGE, page)
    write_output(folder / FIGURES, figures)
    for name, table in score_tables(study).items():
        write_output(folder / f"report/{name}.parquet", parquet_bytes(table))
    return folder / PAGE


def as_json(
    study: Study, findings: list[Finding] | None = None, beside: list[Beside] | None = None
) -> dict[str, Any]:
    """Return the study's figures as ``memcore study report STUDY --json`` prints them.

    ``findings``, and the figures ``beside`` them, are computed unless they are given. ``models`` counts the planned models
    by their state.
    """
    found = judge_study(study) if findings is None else findings
    besides = measure_beside(study) if beside is None else beside
    states = [study.states.get(spec.id, "unfinished") for spec in study.specs]
    return {
        "format": FORMAT,
        "memcore": __version__,
        "protocol": study.protocol.name,
        "models": {
            "planned": len(states),
            **{state: states.count(state) for state in ("done", "unfinished", "failed")},
        },
        "findings": [finding_as_dict(finding) for finding in found],
        "beside": [dataclasses.asdict(figures) for figures in besides],
    }


def render(study: Study, findings: list[Finding], beside: list[Beside]) -> str:
    """Return the page."""
    environment = _environment()
    css = _read("report:page.css") + _read("study.report:page.css")
    pictures = Pictures()
    walls = read_walls(study, pictures.open_album(PICTURE_BYTES, 2 * 12))
    page = environment.get_template("page.html").render(
        css=css,
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        page=make_content(study, findings, beside, walls, pictures),
        size=_SIZE,
    )
    return page.replace(_SIZE, wording.size(len(page.encode())))


def _environment() -> jinja2.Environment:
    import jinja2

    def load(name: str) -> str:
        """Return the study's own template, or the macros that it takes from the report of a run."""
        return _read(f"report:{name}" if name == "finding.html" else f"study.report:{name}")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(tidy=wording.tidy, count=wording.count)
    return environment


def _read(name: str) -> str:
    package, _, file = name.partition(":")
    return files(f"memcore.{package}").joinpath(file).read_text("utf-8")
