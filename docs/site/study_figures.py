"""Fill the measured figures of docs/study.md from a study: ``python docs/site/study_figures.py STUDY --commit ID``.

Only what is between the two marks is written. The figures follow from the tables of the study alone, machine and date from
its manifests; the commit is the one that ran it, which no table knows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from memcore.study.findings import judge_study
from memcore.study.findings.base import estimate
from memcore.study.findings.beside import measure_beside
from memcore.study.findings.over_seeds import RATIO, mean, written
from memcore.study.findings.reading import Leak, Study
from memcore.study.folder import StudyFolder
from memcore.study.report.content import number, signed

PAGE = Path(__file__).parents[1] / "study.md"
START = "<!-- figures: start, written by docs/site/study_figures.py -->"
END = "<!-- figures: end -->"


def figures(study: str, commit: str) -> str:
    """Return the figures of a study as Markdown: what it ran on, each part of each finding, and the attacks' rates."""
    folder = StudyFolder.open(study)
    found = Study.of(folder)
    lines = [_told(folder, found, commit), ""]
    lines += [
        "| | finding | part | measured | 95 % interval | seeds | p, Holm | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    findings = judge_study(found)
    for f in findings:
        for part, e in zip(f.measured.parts, f.estimates, strict=True):
            measured = "-" if e.mean is None else signed(e.mean)
            interval = "-" if e.low is None or e.high is None else f"{signed(e.low)} to {signed(e.high)}"
            cells = [
                f"({f.letter})",
                f.title,
                part.name,
                measured,
                interval,
                f"{f.seeds}",
                f"{f.p_holm:.3f}",
                f.verdict,
            ]
            lines.append(f"| {' | '.join(cells)} |")
        if not f.measured.parts:
            lines.append(
                f"| ({f.letter}) | {f.title} | - | - | - | 0 | - | {f.verdict}: {f.measured.lacking} |"
            )
    lines += ["", "What was counted, and the control of each:", ""]
    for f in findings:
        controls = "; ".join(f"{c.name} {number(c.value)} (n {c.n:,})" for c in f.measured.controls)
        lines.append(
            f"- ({f.letter}) {f.sentence} {f.reason} n: {f.n or 'nothing'}. Control: {controls or 'none'}."
        )
    lines += _sets(found)
    for beside in measure_beside(found):
        lines += ["", f"**{beside.title}.** {beside.sentence}", ""]
        lines += [f"| {' | '.join(beside.table.columns)} |", f"|{'---|' * len(beside.table.columns)}"]
        lines += [f"| {' | '.join(number(cell) for cell in row)} |" for row in beside.table.rows]
    return "\n".join(lines)


def _told(folder: StudyFolder, found: Study, commit: str) -> str:
    """Say what was run, where, when, and what work it was."""
    manifests = [m for m in folder.manifests().values() if not m.get("given_up")]
    machines = sorted({f"{m['processor']} ({m['instruction_set']}), torch {m['torch']}" for m in manifests})
    work = sum(sum(m["seconds"].values()) for m in manifests)
    days = sorted(time.strftime("%Y-%m-%d", time.gmtime(m["finished"])) for m in manifests)
    when = "not begun" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return (
        f"Protocol `{found.protocol.name}`, {len(manifests):,} of {len(found.specs):,} models, {when}, commit {commit}, "
        f"{'; '.join(machines) or 'no machine'}; {work / 3600:.2f} hours of work of one core, as the clock saw it."
    )


def _sets(found: Study) -> list[str]:
    """Return what was extracted of each group by its last checkpoint, mean and interval over the seeds."""
    lines = []
    for group in found.protocol.groups:
        last: dict[int, list[Leak]] = {}
        for spec in found.specs:
            if group.name in spec.groups and "extraction" in spec.attacks and found.is_done(spec):
                leaks = found.leaks(spec, RATIO)
                last.setdefault(spec.seed, []).append(leaks[max(leaks)])
        if last:
            shares = written(estimate([mean(leak.share for leak in row) for row in last.values()]))
            unique = written(estimate([mean(leak.unique for leak in row) for row in last.values()]), 1)
            control = written(estimate([mean(leak.control for leak in row) for row in last.values()]), 4)
            planted = mean(leak.planted for row in last.values() for leak in row)
            samples = sum(leak.samples for row in last.values() for leak in row)
            lines.append(
                f"| {group.name} | {len(last)} | {samples:,} | {shares} | {unique} of {planted:,.0f} | {control} |"
            )
    head = [
        "",
        "Memorised (d1 / d2 < 1/3) at the last checkpoint, means over the seeds with 95 % intervals:",
        "",
    ]
    head += [
        "| group | seeds | samples | memorised fraction | unique images | held-out fraction |",
        "|---|---|---|---|---|---|",
    ]
    return [*head, *lines] if lines else []


def with_figures(page: str, told: str) -> str:
    """Return the page with its figures written again."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{told}\n{END}{after}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="the study's folder")
    parser.add_argument("--commit", required=True, help="the commit that ran it")
    given = parser.parse_args()
    PAGE.write_text(with_figures(PAGE.read_text("utf-8"), figures(given.study, given.commit)), "utf-8")
