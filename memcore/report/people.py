"""What the page says of the annotators: how far they agree, where not, and what they say of the machine's verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from memcore.report.reader import Run
from memcore.report.wording import count, percent, tidy
from memcore.runs.annotations import ANNOTATORS, FILE, LABELS, Annotations, Item

#: Two labels of an item, None where an annotator gave none.
_Pair = tuple[str | None, str | None]

#: What two labels come to, as an evaluation against annotations takes them.
PEOPLE = {
    "copy": "a copy",
    "no": "no copy",
    "split": "they disagree",
    "unsure": "unsure",
    "none": "not labelled",
}
MACHINE = {True: "extracted", False: "not extracted", None: "not matched"}


def judgements(run: Run) -> dict[str, Any] | None:
    """Counts of both annotators, their agreement, a table of the machine's verdicts against theirs, and disagreements.

    None where nobody has labelled anything. Source of kappa: Cohen 1960. RunError if the file is of another run.
    """
    if not (run.path / FILE).exists():
        return None
    with Annotations.open(run.path, str(run.settings["run"].get("digest", ""))) as opened:
        items = opened.items()
        first, second = (opened.labels(annotator) for annotator in ANNOTATORS)
        found = opened.agreement()
    if not first and not second:
        return None
    ranks = {int(row["prompt_id"]): rank for rank, row in enumerate(run.findings, 1)}
    prompts = {int(row["prompt_id"]): tidy(row["prompt"], 80) for row in run.findings}
    verdicts = {item.item: _machine(run, item) for item in items}
    table: Counter[tuple[bool | None, str]] = Counter(
        (verdicts[i.item], _people((first.get(i.item), second.get(i.item)))) for i in items
    )
    columns = [name for name in PEOPLE if any(table[m, name] for m in MACHINE)]
    return {
        "items": len(items),
        "annotators": [
            {
                "name": f"annotator {n}",
                "labels": [_times(given, label) for label in LABELS],
                "all": len(given),
            }
            for n, given in zip(ANNOTATORS, (first, second), strict=True)
        ],
        "labels": LABELS,
        "lead": _lead(found.both, found.observed, found.kappa),
        "matrix": [[found.counts.get((a, b), 0) for b in LABELS] for a in LABELS] if found.both else None,
        "columns": [PEOPLE[name] for name in columns],
        "rows": [
            {"machine": text, "counts": [table[machine, name] for name in columns]}
            for machine, text in MACHINE.items()
            if any(table[machine, name] for name in columns)
        ],
        "against": _against(table),
        "disagreements": [
            {
                "rank": ranks.get(items[i].prompt_id),
                "prompt": prompts.get(items[i].prompt_id, ""),
                "first": a,
                "second": b,
                "machine": MACHINE[verdicts[i]],
            }
            for i, a, b in found.disagreements
        ],
    }


def _machine(run: Run, item: Item) -> bool | None:
    own = (run.matches or {}).get(item.prompt_id, [])
    return next((bool(m["extracted"]) for m in own if int(m["clique"]) == item.clique), None)


def _people(pair: _Pair) -> str:
    said = {label for label in pair if label is not None}
    if {"copy", "no"} <= said:
        return "split"
    return next((name for name in ("copy", "no", "unsure") if name in said), "none")


def _times(given: Mapping[int, str], label: str) -> int:
    return sum(said == label for said in given.values())


def _lead(both: int, observed: float | None, kappa: float | None) -> str:
    if observed is None:
        return "No finding was judged by both, so that nothing can be said of their agreement."
    blind = "blind to each other and to the machine"
    agreed = f"Both judged {count(both, 'finding')}, {blind}, and agree on {percent(observed)}"
    if kappa is None:
        return f"{agreed}; Cohen's kappa is not defined where both give one and the same label to all."
    return f"{agreed}: Cohen's kappa {kappa:.3f}, where 1 is full agreement and 0 what chance gives."


def _against(table: Mapping[tuple[bool | None, str], int]) -> str:
    """What people say of the extractions and of the rest, in words."""
    sentences = []
    confirmed, denied = table.get((True, "copy"), 0), table.get((True, "no"), 0)
    if confirmed + denied:
        sentences.append(
            f"People decided on {count(confirmed + denied, 'extraction')} and call {confirmed:,} of these a copy."
        )
    more, less = table.get((False, "copy"), 0), table.get((False, "no"), 0)
    if more + less:
        sentences.append(
            f"They decided on {count(more + less, 'candidate')} outside the extractions and call {more:,} of these a copy, "
            "which the distance misses."
            if more
            else f"They decided on {count(more + less, 'candidate')} outside the extractions and call none a copy."
        )
    return " ".join(sentences)
