"""A run's budget and screen: why prompts ended, how many images that saved, and what may be lost."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from memcore.evaluation.roc import roc
from memcore.report.drawing import plots
from memcore.report.run import Budget, Run
from memcore.report.subject import Subject
from memcore.report.wording import count, percent
from memcore.sampling.screen import SCREENS

ORDER = 70
LABEL = "Budget"
STOPS = {
    "found": "the clique was complete",
    "hopeless": "the largest clique stayed too small for the promised copy rate",
    "impossible": "the images left could not complete a clique",
    "all": "as many images as the fixed rule makes",
    "screened": "not sampled: the first denoising step scored below the threshold",
}
#: What people read for a score.
SCORE_LABELS = {screen.name: screen.label for screen in SCREENS}


@dataclasses.dataclass(frozen=True)
class Ending:
    """The prompts that ended for one reason, and their images; ``mean`` is images a prompt."""

    stop: str
    meaning: str
    prompts: int
    images: int
    mean: float


class BudgetSection(TypedDict):
    """``of`` is how many images the fixed rule makes; ``saved`` is the share of these that was not made."""

    endings: list[Ending]
    images: int
    of: int
    saved: str | None
    promise: str
    screened: str
    screens: plots.Plot | None


def context(subject: Subject) -> BudgetSection | None:
    """Return None if nothing could be saved, as the budget was fixed and there was no screen."""
    run, budget = subject.run, subject.run.budget
    if not run.stops or budget.generations is None or (budget.rule == "fixed" and not run.screen):
        return None
    prompts = sum(n for n, _ in run.stops.values())
    images = sum(n for _, n in run.stops.values())
    most = budget.generations * prompts
    return {
        "endings": [
            Ending(stop, STOPS.get(stop, ""), n, made, made / n if n else 0.0)
            for stop in [*STOPS, *(s for s in run.stops if s not in STOPS)]
            if (pair := run.stops.get(stop)) is not None
            for n, made in [pair]
        ],
        "images": images,
        "of": most,
        "saved": percent(1 - images / most) if prompts else None,
        "promise": _promise(budget),
        "screened": _screened(run),
        "screens": _screens(run),
    }


def _promise(budget: Budget) -> str:
    if budget.rule != "sequential":
        return ""
    return (
        f"Of the prompts that repeat one picture in at least {percent(budget.copy_rate)} of their images, and that "
        f"{budget.generations:,} images each would find, at most {percent(budget.miss_rate)} are expected to "
        "be lost by stopping early. Prompts with fewer copies have no such bound."
    )


def _screened(run: Run) -> str:
    out = run.stops.get("screened", (0, 0))[0]
    if run.screen is None:
        return ""
    name = SCORE_LABELS[run.screen.score]
    if not run.screen.threshold:
        return f"The screen ({name}) only recorded its scores; it left no prompt out."
    return (
        f"The screen left out {count(out, 'prompt')} with a {name} score below {run.screen.threshold:g}. What it may "
        "have lost is not known: a screen has no proven bound. No curve of its scores is drawn: prompts that were not "
        "sampled have no result to compare them with."
    )


def screen_curves(run: Run) -> dict[str, plots.ScreenCurve]:
    """Return the ROC of each score against what the full attack found; empty where it found none, or everything.

    It is empty, too, where the screen left prompts out: those with low scores have no result, and the rest alone would
    draw a better curve, or a worse one.
    """
    if run.scores is None or run.completeness.screened:
        return {}
    curves = {}
    for name, scores in run.scores.scores.items():
        curve = roc(scores, run.scores.found)
        area, keep_all, spared = curve["area"], curve["keep_all"], curve["spared"]
        if area is not None and keep_all is not None and spared is not None:
            points = [(p["fpr"], p["tpr"]) for p in curve["points"]]
            curves[SCORE_LABELS[name]] = plots.ScreenCurve(area, points, keep_all, spared, curve["negatives"])
    return curves


def _screens(run: Run) -> plots.Plot | None:
    """Draw the ROC of the screens; None without scores."""
    curves = screen_curves(run)
    if not curves:
        return None
    name, first = next(iter(curves.items()))
    return plots.Plot(
        title="One step against the full attack",
        svg=plots.screens(curves),
        text=f"Candidates of the full attack against all other prompts. With the {name}, a threshold of "
        f"{first.keep_all:.4g} would have lost no candidate and spared {percent(first.spared)} of the "
        f"{first.negatives:,} other prompts.",
    )
