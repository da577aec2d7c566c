"""Compare the two annotators: what each said, Cohen's kappa, and where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from memcore.errors import RunError
from memcore.system.units import count


class Disagreement(TypedDict):
    """A finding that got two different answers."""

    item: int
    prompt_id: int
    clique: int
    prompt: str
    first: str
    second: str


class Agreement(TypedDict):
    """Counts of answers by annotator and label; ``kappa`` is None where it is undefined."""

    items: int
    annotators: dict[str, dict[str, int]]
    both: int
    observed: float | None
    kappa: float | None
    copies: int
    disagreements: list[Disagreement]


def read_agreement(run: Path) -> Agreement:
    """Return what both annotators said, as ``memcore annotate --agreement --json`` prints it."""
    from memcore.report.run import read_run
    from memcore.runs.annotations import ANNOTATORS, LABELS, Annotations
    from memcore.runs.layout import ANNOTATIONS

    read = read_run(run)
    for stale in read.stale:
        if stale.file == ANNOTATIONS:
            raise RunError(f"{run}/{stale.text}")
    prompts = {int(row["prompt_id"]): str(row["prompt"]) for row in read.findings}
    with Annotations.open(run, str(read.settings["run"].get("digest", ""))) as annotations:
        items = annotations.items()
        found = annotations.agreement()
        labels = {annotator: annotations.labels(annotator) for annotator in ANNOTATORS}
    return {
        "items": len(items),
        "annotators": {
            str(annotator): {label: list(given.values()).count(label) for label in LABELS}
            for annotator, given in labels.items()
        },
        "both": found.both,
        "observed": found.observed,
        "kappa": found.kappa,
        "copies": found.counts.get(("copy", "copy"), 0),
        "disagreements": [
            {
                "item": item,
                "prompt_id": items[item].prompt_id,
                "clique": items[item].clique,
                "prompt": prompts.get(items[item].prompt_id, ""),
                "first": first,
                "second": second,
            }
            for item, first, second in found.disagreements
        ],
    }


def agreement_lines(result: Agreement) -> list[str]:
    """Return the agreement in words, and each disagreement."""
    lines = [
        f"annotator {annotator}: {sum(counts.values())} of {result['items']} done, "
        + ", ".join(f"{number} {label}" for label, number in counts.items())
        for annotator, counts in result["annotators"].items()
    ]
    if not result["both"]:
        return [*lines, "no item has two answers yet"]
    kappa = (
        "undefined (one and the same answer to all)" if result["kappa"] is None else f"{result['kappa']:.3f}"
    )
    lines.append(
        f"{count(result['both'], 'item')} with two answers: {result['observed']:.1%} agree, Cohen's kappa {kappa}, "
        f"{count(result['copies'], 'copy', 'copies')} to both"
    )
    for d in result["disagreements"]:
        lines.append(
            f"  rank {d['item'] + 1}, prompt {d['prompt_id']} {d['prompt']!r}: {d['first']} / {d['second']}"
        )
    return lines
