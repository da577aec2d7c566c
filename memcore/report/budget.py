"""What the page says of a run's budget and screen."""

from __future__ import annotations

from typing import Any

from memcore.evaluation.roc import Roc, roc
from memcore.report.reader import Run
from memcore.report.wording import count, percent

STOPS = {
    "found": "the clique was complete",
    "hopeless": "the largest clique stayed too small for the promised copy rate",
    "impossible": "the images left could not complete a clique",
    "all": "as many images as the fixed rule makes",
    "screened": "not sampled: the first denoising step scored below the threshold",
}
SCORE_NAMES = {"noise_magnitude": "noise magnitude", "one_step": "one-step"}


def budget(run: Run) -> dict[str, Any] | None:
    """Prompts and images by why they ended, what was saved of the fixed rule's images, and the promise; None if nothing
    could be saved, as the budget was fixed and there was no screen.
    """
    told = run.settings.get("budget", {})
    screen = run.settings.get("screen", {})
    if not run.stops or (told.get("rule", "fixed") == "fixed" and not screen):
        return None
    most = int(told["generations"])
    prompts = sum(n for n, _ in run.stops.values())
    images = sum(n for _, n in run.stops.values())
    rows = [
        {
            "stop": stop,
            "meaning": STOPS.get(stop, ""),
            "prompts": n,
            "images": made,
            "mean": made / n if n else 0.0,
        }
        for stop in [*STOPS, *(s for s in run.stops if s not in STOPS)]
        if (pair := run.stops.get(stop)) is not None
        for n, made in [pair]
    ]
    return {
        "rows": rows,
        "images": images,
        "of": most * prompts,
        "saved": percent(1 - images / (most * prompts)) if prompts else None,
        "promise": _promise(told),
        "screened": _screened(run),
    }


def _promise(told: dict[str, Any]) -> str:
    if told.get("rule") != "sequential":
        return ""
    return (
        f"Of the prompts that repeat one picture in at least {percent(float(told['copy_rate']))} of their images, and that "
        f"{int(told['generations']):,} images each would find, at most {percent(float(told['miss_rate']))} are expected to "
        "be lost by stopping early. Prompts with fewer copies have no such bound."
    )


def _screened(run: Run) -> str:
    out = run.stops.get("screened", (0, 0))[0]
    screen = run.settings.get("screen", {})
    if not screen:
        return ""
    name = SCORE_NAMES.get(screen["score"], screen["score"])
    if not float(screen["threshold"]):
        return f"The screen ({name}) only recorded its scores; it left no prompt out."
    return (
        f"The screen left out {count(out, 'prompt')} with a {name} score below {float(screen['threshold']):g}. What it may "
        "have lost is not known: a screen has no proven bound."
    )


def screen_curves(run: Run) -> dict[str, Roc]:
    """The ROC of each score against what the full attack found; empty where it found none, or everything."""
    if run.screen is None:
        return {}
    curves = {SCORE_NAMES[name]: roc(scores, run.screen.found) for name, scores in run.screen.scores.items()}
    return {name: curve for name, curve in curves.items() if curve["area"] is not None}
