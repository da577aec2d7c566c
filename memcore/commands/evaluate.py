"""``memcore evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from memcore.commands._answer import Answer
from memcore.system.units import count

if TYPE_CHECKING:
    from memcore.evaluation.result import Evaluation

NAME = "evaluate"
HELP = "compute precision and recall, and sweep other thresholds"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the truth."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--truth", type=Path, help="truth.json: what was planted")
    truth.add_argument(
        "--against", choices=["matches", "annotations"], help="the run's extractions, or what people said"
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Compare the run with the truth and write its evaluation."""
    from memcore.evaluation.evaluate_run import evaluate_run

    result = evaluate_run(arguments.run, arguments.truth, against=arguments.against or "truth")
    return Answer(result, evaluation_lines(result))


def evaluation_lines(result: Evaluation) -> list[str]:
    """Return precision and recall of each stage, in words; without planted truth, what the share is a share of."""
    if result["against"] != "truth":
        return _shares(result)
    lines = []
    for name, stage in result["stages"].items():
        shown = [
            f"{what} {'none' if p['value'] is None else format(p['value'], '.3f')} [{p['low']:.3f}, {p['high']:.3f}]"
            for what, p in (("precision", stage["precision"]), ("recall", stage["recall"]))
        ]
        lines.append(
            f"{name}: {', '.join(shown)}, average precision {stage['average_precision']:.3f}, "
            f"recall at zero false positives {stage['recall_at_zero_fp']:.3f}"
        )
    if best := result.get("sweep", {}).get("best"):
        lines.append(
            f"largest recall at zero false positives of all thresholds and sizes: {best['recall_at_zero_fp']:.3f}, at "
            f"threshold {best['threshold']:g} and cliques of {best['min_clique']}"
        )
    return lines


#: What is counted where nothing was planted, and why no recall follows.
_ANSWERS = {
    "matches": ("extracted", "the run's own extractions cannot tell what it missed"),
    "annotations": ("called a copy", "people saw findings alone, not what the run missed"),
}


def _shares(result: Evaluation) -> list[str]:
    """Return how many findings are extracted, or called a copy: neither is a recall."""
    answer, why = _ANSWERS[result["against"]]
    stage = result["stages"]["candidates"]
    undecided = sum(p["mean_distance"] is not None and p["expected"] is None for p in result["prompts"])
    share = stage["precision"]
    left = f", {undecided} not decided" if undecided else ""
    lines = [
        f"{stage['tp']:,} of {count(stage['tp'] + stage['fp'], 'finding')} {answer}{left}: share "
        f"{'none' if share['value'] is None else format(share['value'], '.3f')} "
        f"[{share['low']:.3f}, {share['high']:.3f}]",
        f"no recall follows from this: {why}",
    ]
    if best := result.get("sweep", {}).get("best"):
        lines.append(
            f"largest share of these before the first other finding, of all thresholds and sizes: "
            f"{best['recall_at_zero_fp']:.3f}, at threshold {best['threshold']:g} and cliques of {best['min_clique']}"
        )
    return lines
