"""The plots below the key figures: what can be drawn at the run's stage."""

from __future__ import annotations

from typing import TypedDict

from memcore.report.drawing import plots
from memcore.report.evaluation_json import is_planted
from memcore.report.sections import evaluation
from memcore.report.subject import Subject

ORDER = 10
LABEL = None


class Plots(TypedDict):
    """What the template shows."""

    plots: list[plots.Plot]


def context(subject: Subject) -> Plots | None:
    """Return the plots, None where nothing can be drawn."""
    run, drawn = subject.run, []
    if run.evaluation:
        drawn.append(
            plots.Plot(
                title="Precision and recall",
                svg=plots.precision_recall(run.evaluation["stages"], run.evaluation["positives"]),
                text="Down the ranking by mean distance. Each dot is a finding; the cross spans the "
                f"{evaluation.confidence(run.evaluation)} intervals where the curve ends.",
            )
        )
    if run.evaluation and is_planted(run.evaluation):
        drawn.append(
            plots.Plot(
                title="More duplicates, more copies",
                svg=plots.share_against_copies(run.evaluation["prompts"]),
                text="Each dot is a prompt, the diamonds are means.",
            )
        )
    if subject.findings:
        values = [(f.ranked_by, f.extracted) for f in subject.findings]
        drawn.append(
            plots.Plot(
                title="How alike the copies are",
                svg=plots.histogram(values, run.threshold),
                text="The ranking key: the smaller the mean distance, the surer the finding.",
            )
        )
    return {"plots": drawn} if drawn else None
