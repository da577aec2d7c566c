"""An evaluation: precision and recall, what was missed, and other thresholds and clique sizes."""

from __future__ import annotations

from typing import TypedDict

from memcore.evaluation.result import CopiesGroup, EvaluatedPrompt, Evaluation, Stage
from memcore.report.drawing import plots
from memcore.report.evaluation_json import compared_with, is_planted
from memcore.report.subject import Subject
from memcore.report.wording import EXAMPLES, count, tidy

ORDER = 30
LABEL = "Evaluation"
AGAINST = {
    "truth": "what was planted",
    "matches": "the extractions",
    "annotations": "what the annotators said",
}
_COUNTED = {
    "truth": "{right} must be found, {wrong} must not, and {unknown} in between are shown but count neither way. A match "
    "with another training image than the planted one counts as wrong.",
    "matches": "Of {decided} that were compared with the training set, {yes} extracted. The run's own extractions cannot "
    "tell what it missed: no recall follows from them.",
    "annotations": "People decided on {decided} and call {yes} of them a copy; {open} disputed or not judged. They saw "
    "findings alone, so that nothing is known of what the run missed: no recall follows from them.",
}
#: What the two answers are called where nothing was planted.
SWEPT = {"matches": "share of the extractions", "annotations": "share of what people call a copy"}
_ANSWERS = {"matches": ("extracted", "not extracted"), "annotations": ("called a copy", "called no copy")}


class Missed(TypedDict):
    """A prompt that should have been found; ``size`` is that of its largest clique."""

    prompt: str
    copies: int
    size: int


class EvaluationSection(TypedDict):
    """``missed`` are examples; ``more_missed`` are not among them."""

    against: str
    counted: str
    stages: dict[str, Stage]
    planted: bool
    answers: tuple[str, str]
    undecided: int
    by_copies: list[CopiesGroup]
    sweep: plots.Plot | None
    missed: list[Missed]
    more_missed: int
    truth: str


def context(subject: Subject) -> EvaluationSection | None:
    """Return the evaluation in words and numbers, None without one."""
    run = subject.run
    if run.evaluation is None:
        return None
    missed = _missed(run.evaluation)
    return {
        "against": against(run.evaluation),
        "counted": counted(run.evaluation),
        "stages": run.evaluation["stages"],
        "planted": is_planted(run.evaluation),
        "answers": _ANSWERS.get(compared_with(run.evaluation), ("right", "wrong")),
        "undecided": undecided(run.evaluation),
        "by_copies": run.evaluation["by_copies"][:EXAMPLES] if is_planted(run.evaluation) else [],
        "sweep": _sweep(run.evaluation, run.threshold, run.min_clique),
        "missed": missed[:EXAMPLES],
        "more_missed": max(0, len(missed) - EXAMPLES),
        "truth": _truth(run.evaluation),
    }


def _truth(evaluation: Evaluation) -> str:
    """Name the file of planted truth; nothing where there was none, or an earlier version did not record it."""
    truth = evaluation["made_from"].get("truth") if "made_from" in evaluation else None
    return f"The truth is {tidy(truth['path'])}, sha256 {truth['sha256'][:16]}." if truth else ""


def against(evaluation: Evaluation) -> str:
    """Say what the run was compared with."""
    return AGAINST.get(compared_with(evaluation), AGAINST["truth"])


def judged_stage(evaluation: Evaluation | None) -> Stage | None:
    """Return the stage that the verdict speaks of: extracted, or candidates before matching."""
    stages = evaluation["stages"] if evaluation else {}
    return stages.get("extracted") or stages.get("candidates")


def confidence(evaluation: Evaluation) -> str:
    """Return the level of the intervals."""
    return f"{100 * float(evaluation.get('confidence', 0.95)):g} %"


def undecided(evaluation: Evaluation) -> int:
    """Return the findings that count neither way."""
    return sum(p["mean_distance"] is not None and p["expected"] is None for p in evaluation["prompts"])


def counted(evaluation: Evaluation) -> str:
    """Say who counts as right and as wrong and, where nothing was planted, how many of each there are."""
    stage = evaluation["stages"]["candidates"]
    yes, left = stage["tp"], undecided(evaluation)
    is_are = "is" if yes == 1 else "are"
    return _COUNTED.get(compared_with(evaluation), _COUNTED["truth"]).format(
        right=count(int(evaluation["positives"]), "prompt"),
        wrong=f"{int(evaluation['negatives']):,}",
        unknown=f"{int(evaluation['ignored']):,}",
        decided=count(yes + stage["fp"], "finding"),
        yes=f"{yes:,}" if compared_with(evaluation) == "annotations" else f"{yes:,} {is_are}",
        open=f"{left:,} {'is' if left == 1 else 'are'}",
    )


def _missed(evaluation: Evaluation) -> list[Missed]:
    """Return the prompts whose image was planted often enough but that the judged stage does not report."""
    if not is_planted(evaluation):
        return []

    def reported(prompt: EvaluatedPrompt) -> bool:
        found = prompt["extracted"] if "extracted" in evaluation["stages"] else bool(prompt["size"])
        return found and prompt.get("right_image") is not False

    wrong = [p for p in evaluation["prompts"] if p["expected"] is True and not reported(p)]
    return [{"prompt": tidy(p["prompt"]), "copies": p["copies"], "size": p["size"]} for p in wrong]


def _sweep(evaluation: Evaluation, threshold: float, min_clique: int) -> plots.Plot | None:
    """Draw the recall at zero false positives over thresholds and clique sizes, and say what the map shows.

    Where nothing was planted it is no recall, but the share of the positive answers that is kept.
    """
    sweep = evaluation.get("sweep")
    if not sweep or not sweep["best"]:
        return None
    best = plots.Setting(sweep["best"]["threshold"], sweep["best"]["min_clique"])
    highest = sweep["best"]["recall_at_zero_fp"]
    own = plots.Setting(threshold, min_clique)
    measure = SWEPT.get(compared_with(evaluation), "recall")
    reached = {plots.Setting(c["threshold"], c["min_clique"]): c["recall_at_zero_fp"] for c in sweep["cells"]}
    if reached.get(own) == highest:
        best = own
        found = f"No setting does better than the run's own ({highest:.3f}, framed)."
    else:
        found = (
            f"The largest is {highest:.3f}, at threshold {best.threshold:.3g} and cliques of "
            f"{best.min_clique} (dashed); the run's own setting has the solid frame."
        )
    text = f"{found} Computed from the stored pairs, up to {sweep['ceiling']:g}; no image was made again."
    if sweep.get("stopped_early"):
        text += " Prompts stopped early at the run's setting: with another one, some would have continued and found more."
    return plots.Plot(
        title="Other thresholds and clique sizes",
        svg=plots.sweep_map(sweep, own, best, highest, measure),
        text=f"{measure[0].upper()}{measure[1:]} down the ranking before the first wrong prompt: the fuller the colour, "
        f"the larger. {text}",
    )
