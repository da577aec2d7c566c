"""What the page says of an evaluation: what the run was held against, and other thresholds and clique sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memcore.report.axes import Axes
from memcore.report.wording import count

AGAINST = {
    "truth": "what was planted",
    "matches": "the extractions",
    "annotations": "what the annotators said",
}
_COUNTED = {
    "truth": "{right} must be found, {wrong} must not, and {unknown} in between are shown but count neither way. A match "
    "with another training image than the planted one counts as wrong.",
    "matches": "{right} were extracted and {wrong} were not, though their images repeat; the other {unknown} were never "
    "held against the training set and count neither way. So recall is of the extractions, not of all that is memorised.",
    "annotations": "{right} were called a copy and {wrong} were not; on {unknown} nobody decided: they count neither way. "
    "So recall is of the copies that the annotators saw, not of all that is memorised.",
}


def against(evaluation: Mapping[str, Any] | None) -> str:
    """What the run was held against, in words; evaluations from before there was a choice were against planted truth."""
    return AGAINST.get(_kind(evaluation), AGAINST["truth"])


def lead(evaluation: Mapping[str, Any]) -> str:
    """Who counts as right and as wrong."""
    return _COUNTED.get(_kind(evaluation), _COUNTED["truth"]).format(
        right=count(int(evaluation["positives"]), "prompt"),
        wrong=f"{int(evaluation['negatives']):,}",
        unknown=f"{int(evaluation['ignored']):,}",
    )


def planted(evaluation: Mapping[str, Any] | None) -> bool:
    """Whether copies were planted, so that their numbers mean something."""
    return evaluation is not None and _kind(evaluation) == "truth"


def _kind(evaluation: Mapping[str, Any] | None) -> str:
    return str((evaluation or {}).get("against", "truth"))


def sweep(evaluation: Mapping[str, Any] | None, threshold: float, min_clique: int) -> dict[str, str] | None:
    """A map of the recall at zero false positives over thresholds and clique sizes, with what it shows in words."""
    swept = (evaluation or {}).get("sweep")
    if not swept or not swept.get("cells"):
        return None
    thresholds, sizes, best = swept["thresholds"], swept["sizes"], swept["best"]
    own = next(
        (c for c in swept["cells"] if (c["threshold"], c["min_clique"]) == (threshold, min_clique)), None
    )
    if own is not None and own["recall_at_zero_fp"] == best["recall_at_zero_fp"]:
        best = own
        found = f"No setting does better than the run's own ({best['recall_at_zero_fp']:.3f}, framed)."
    else:
        found = (
            f"The largest is {best['recall_at_zero_fp']:.3f}, at threshold {best['threshold']:.3g} and cliques of "
            f"{best['min_clique']} (dashed); the run's own setting has the solid frame."
        )
    text = f"{found} Found from stored pairs, up to {swept['ceiling']:g}; no image was made again."
    if swept.get("stopped_early"):
        text += " Prompts stopped early, at the run's setting: with another one some would have gone on, and found more."
    return {
        "title": "Other thresholds and clique sizes",
        "svg": _map(
            swept, thresholds, sizes, (threshold, min_clique), (best["threshold"], best["min_clique"])
        ),
        "text": f"Recall down the ranking before the first wrong prompt: the fuller the colour, the larger. {text}",
    }


def _map(
    swept: Mapping[str, Any],
    thresholds: list[float],
    sizes: list[int],
    own: tuple[float, int],
    best: tuple[float, int],
) -> str:
    axes = Axes(
        "plot-sweep",
        f"Map of the recall at zero false positives over {len(thresholds)} thresholds and {len(sizes)} clique sizes; the "
        f"largest is {swept['best']['recall_at_zero_fp']:.3f}.",
        x=(0, len(thresholds)),
        y=(0, len(sizes)),
        x_label="threshold",
        y_label="smallest clique",
    )
    columns = {t: i for i, t in enumerate(thresholds)}
    rows = {s: i for i, s in enumerate(sizes)}
    for cell in swept["cells"]:
        x, y = columns[cell["threshold"]], rows[cell["min_clique"]]
        tip = (
            f"threshold {cell['threshold']:g}, cliques of {cell['min_clique']}: recall {cell['recall_at_zero_fp']:.3f} at "
            f"zero false positives; {cell['tp']} right, {cell['fp']} wrong, {cell['fn']} missed"
        )
        axes.cell(x, x + 1, y, y + 1, 0.04 + 0.96 * float(cell["recall_at_zero_fp"]), tip)
    step = -(-len(thresholds) // 7)
    axes.ticks_x([(i + 0.5, f"{t:.2g}") for t, i in columns.items() if i % step == 0])
    for size, i in rows.items():
        axes.note(-0.12, i + 0.32, str(size), "tick", "end")
    for (t, s), css in ((best, "frame best"), (own, "frame")):
        if t in columns and s in rows:
            axes.frame(columns[t], columns[t] + 1, rows[s], rows[s] + 1, css)
    return axes.svg()
