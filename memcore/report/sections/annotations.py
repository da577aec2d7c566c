"""What the annotators say: where they agree, where they differ, and how they judge the machine's verdicts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import TypedDict

from memcore.report.run import Run
from memcore.report.subject import Subject
from memcore.report.wording import EXAMPLES, count, percent, tidy
from memcore.runs.annotations import ANNOTATORS, FILE, LABELS, Agreement, Annotations, Item

ORDER = 40
LABEL = "People"

#: Two labels of an item, None where an annotator gave none.
_Pair = tuple[str | None, str | None]

#: The result of two labels, as an evaluation against annotations counts them.
PEOPLE = {
    "copy": "a copy",
    "no": "no copy",
    "split": "they disagree",
    "unsure": "unsure",
    "none": "not labelled",
}
MACHINE = {True: "extracted", False: "not extracted", None: "not matched"}


@dataclasses.dataclass(frozen=True)
class Annotator:
    """How often an annotator gave each of LABELS, and all of them."""

    name: str
    labels: list[int]
    all: int


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """What people say of the findings with one verdict of the machine's: a count for each column."""

    machine: str
    counts: list[int]


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A finding with two different labels; ``linked`` if the page shows it with pictures.

    ``rank`` is None if it is not among the run's findings.
    """

    rank: int | None
    linked: bool
    prompt: str
    first: str
    second: str
    machine: str


@dataclasses.dataclass(frozen=True)
class Judgements:
    """Counts of both annotators, their agreement, a table of the machine's verdicts against theirs, and disagreements.

    ``matrix`` counts pairs of labels on the same finding; None where no finding has two.
    """

    items: int
    annotators: list[Annotator]
    lead: str
    matrix: list[list[int]] | None
    columns: list[str]
    rows: list[VerdictRow]
    against: str
    disagreements: list[Disagreement]


class AnnotationsSection(TypedDict):
    """What the template shows."""

    judgements: Judgements
    labels: tuple[str, ...]
    disagreements: list[Disagreement]
    more_disagreements: int


def context(subject: Subject) -> AnnotationsSection | None:
    """Return the judgements, None where nothing was labelled."""
    judgements = read_judgements(subject.run, linked=len(subject.pictured))
    if judgements is None:
        return None
    return {
        "judgements": judgements,
        "labels": LABELS,
        "disagreements": judgements.disagreements[:EXAMPLES],
        "more_disagreements": max(0, len(judgements.disagreements) - EXAMPLES),
    }


def read_judgements(run: Run, *, linked: int = 0) -> Judgements | None:
    """Return what the annotators said; None without a label, or where they saw other pictures than the run has now.

    The first ``linked`` ranks are on the page.

    Source of kappa: Cohen 1960. Raises RunError if the file is of another run.
    """
    if not (run.path / FILE).exists():
        return None
    with Annotations.open(run.path, run.digest) as opened:
        items = opened.items()
        first, second = (opened.labels(annotator) for annotator in ANNOTATORS)
        agreement = opened.agreement()
    if not (first or second) or any(stale.file == FILE for stale in run.stale):
        return None
    verdicts = {item.item: _machine(run, item) for item in items}
    table: Counter[tuple[bool | None, str]] = Counter(
        (verdicts[i.item], _people((first.get(i.item), second.get(i.item)))) for i in items
    )
    columns = [name for name in PEOPLE if any(table[m, name] for m in MACHINE)]
    return Judgements(
        items=len(items),
        annotators=[
            Annotator(f"annotator {n}", [_times(given, label) for label in LABELS], len(given))
            for n, given in zip(ANNOTATORS, (first, second), strict=True)
        ],
        lead=_lead(agreement),
        matrix=[[agreement.counts.get((a, b), 0) for b in LABELS] for a in LABELS]
        if agreement.both
        else None,
        columns=[PEOPLE[name] for name in columns],
        rows=[
            VerdictRow(text, [table[machine, name] for name in columns])
            for machine, text in MACHINE.items()
            if any(table[machine, name] for name in columns)
        ],
        against=_against(table),
        disagreements=_disagreements(run, agreement, items, verdicts, linked),
    )


def _disagreements(
    run: Run, agreement: Agreement, items: list[Item], verdicts: Mapping[int, bool | None], linked: int
) -> list[Disagreement]:
    ranks = {int(row["prompt_id"]): rank for rank, row in enumerate(run.findings, 1)}
    prompts = {int(row["prompt_id"]): tidy(row["prompt"], 80) for row in run.findings}
    found = []
    for i, first, second in agreement.disagreements:
        prompt_id = items[i].prompt_id
        rank = ranks.get(prompt_id)
        shown = rank is not None and rank <= linked
        prompt = prompts.get(prompt_id, "")
        found.append(Disagreement(rank, shown, prompt, first, second, MACHINE[verdicts[i]]))
    return found


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


def _lead(agreement: Agreement) -> str:
    if agreement.observed is None:
        return "No finding was judged by both, so that nothing can be said of their agreement."
    blind = "blind to each other and to the machine"
    agreed = (
        f"Both judged {count(agreement.both, 'finding')}, {blind}, and agree on {percent(agreement.observed)}"
    )
    if agreement.kappa is None:
        return f"{agreed}; Cohen's kappa is not defined where both give one and the same label to all."
    return (
        f"{agreed}: Cohen's kappa {agreement.kappa:.3f}, where 1 is full agreement and 0 what chance gives."
    )


def _against(table: Mapping[tuple[bool | None, str], int]) -> str:
    """Say what people think of the extractions and of the rest."""
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
