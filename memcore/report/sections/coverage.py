"""What the page rests on: of all that the audit was pointed at, what was used, and what was left out for which reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypedDict

from memcore.images.reasons import REASONS
from memcore.images.resize import describe_resize
from memcore.report.run import Run
from memcore.report.subject import Subject
from memcore.report.wording import count
from memcore.runs.completeness import NO_IMAGES, list_reasons

ORDER = 55
LABEL = "What this rests on"
#: Reasons of images that were looked at and mean nothing: no verdict lacks them.
_MEANINGLESS = frozenset({"constant"})


@dataclasses.dataclass(frozen=True)
class Account:
    """One row: ``whole`` = ``used`` + ``lost`` + ``other``, each with its words; ``other`` takes nothing from a verdict."""

    name: str
    whole: int
    used: int
    used_as: str
    lost: int
    lost_as: str
    other: int
    other_as: str

    @property
    def bar(self) -> list[tuple[str, float, float]]:
        """Return the segments of the row's bar: class, begin and width in percent. Nothing that is there vanishes."""
        segments, begin = [], 0.0
        for kind, number in (("used", self.used), ("lost", self.lost), ("other", self.other)):
            width = 100 * number / self.whole if self.whole else 0.0
            segments.append((kind, begin, max(width, 0.6) if number else 0.0))
            begin += width
        return segments


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A reason why training images were left out."""

    reason: str
    number: int
    meaning: str
    example: str


class CoverageSection(TypedDict):
    """What the template shows."""

    accounts: list[Account]
    notes: list[str]
    training: list[LeftOut]


def context(subject: Subject) -> CoverageSection | None:
    """Return the accounts of prompts, generations and training images; None while nothing is done."""
    run = subject.run
    if not run.done:
        return None
    accounts = [_prompts(run), _generations(run)]
    if run.match is not None:
        accounts.append(_training(run.match))
    return {"accounts": accounts, "notes": _notes(run), "training": _left_out(run.match or {})}


def _prompts(run: Run) -> Account:
    rests = run.completeness
    blank = int(run.settings["prompts"].get("blank", 0))
    decided = run.prompts - rests.undecided - rests.screened
    gaps = [gap for gap in rests.gaps if gap.code in ("unfinished", "failed", "few", "short", "unproven")]
    other = [(rests.screened, f"{rests.screened:,} screened out"), (blank, count(blank, "blank line"))]
    return Account(
        "Prompts",
        run.prompts + blank,
        decided,
        "decided",
        rests.undecided,
        "; ".join(gap.text for gap in gaps),
        rests.screened + blank,
        ", ".join(words for number, words in other if number),
    )


def _generations(run: Run) -> Account:
    if run.coverage is None:
        usable = run.generated - run.excluded
        black = f"{run.excluded:,} black, constant or broken" if run.excluded else ""
        return Account("Generations", run.generated, usable, "compared", 0, "", run.excluded, black)
    of = run.coverage
    shape = str(run.settings["sampler"]["describe"].get("image_shape", ""))
    beside = (NO_IMAGES | _MEANINGLESS) - {"caption"}  # without its caption, an image has no prompt
    return _of_files(
        "Generations", of["pointed_at"], of["images"], of["texts"], of["left_out"], shape.split("x"), beside
    )


def _training(match: Mapping[str, Any]) -> Account:
    compared, coverage = int(match.get("count", 0)), match.get("coverage")
    left_out = training_reasons(match)
    if isinstance(coverage, Mapping):
        whole, texts = int(coverage["pointed_at"]), int(coverage["texts"])
    else:  # of an earlier version, which counted no texts
        whole, texts = compared + sum(left_out.values()), 0
    return _of_files(
        "Training images", whole, compared, texts, left_out, match.get("image_shape") or (), NO_IMAGES
    )


def _of_files(
    name: str,
    whole: int,
    used: int,
    texts: int,
    left_out: Mapping[str, int],
    shape: Sequence[object],
    beside: Set[str],
) -> Account:
    """Return the account of files, of whose reasons ``beside`` are those that take nothing from a verdict."""
    lost = {reason: n for reason, n in left_out.items() if n and reason not in beside}
    others = {reason: n for reason, n in left_out.items() if n and reason in beside}
    told = [count(texts, "text")] if texts else []
    told += [count(n, *_OTHER_WORDS.get(reason, (reason, reason))) for reason, n in sorted(others.items())]
    size = f"{shape[0]}x{shape[1]}" if len(shape) == 3 else ""
    return Account(
        name,
        whole,
        used,
        "compared",
        sum(lost.values()),
        list_reasons(lost, size) if lost else "",
        texts + sum(others.values()),
        ", ".join(told),
    )


_OTHER_WORDS = {
    "constant": ("black or constant image", "black or constant images"),
    "other": ("file that is no image", "files that are no images"),
    "system": ("file of a system", "files of a system"),
    "text": ("text without an image", "texts without an image"),
    "caption": ("text that cannot be read", "texts that cannot be read"),
    "empty": ("empty folder", "empty folders"),
    "no-image": ("entry without an image", "entries without an image"),
}


def _notes(run: Run) -> list[str]:
    """Return what the accounts do not say."""
    notes = []
    if run.match is None:
        notes.append("The findings were not compared with a training set.")
    elif run.match.get("resize"):
        notes.append(
            f"Training images of other sizes were resized to {describe_resize(run.match['resize'] or {})}."
        )
    config = run.settings.get("config", {})
    if config.get("resize"):
        how = f"{config.get('resize_method', 'lanczos')}, {config.get('resize_fit', 'crop')}"
        notes.append(f"Generations of other sizes were resized to {config['resize']} ({how}).")
    if repeated := int(run.settings["prompts"].get("repeated", 0)):
        repeat = "prompt repeats" if repeated == 1 else "prompts repeat"
        notes.append(f"{repeated:,} {repeat} an earlier one, and each was sampled and counted by itself.")
    return notes


def training_reasons(match: Mapping[str, Any]) -> dict[str, int]:
    """Return how many files, members or rows of the training set were left out, by reason."""
    coverage, told = match.get("coverage"), match.get("unreadable", 0)
    if isinstance(coverage, Mapping):
        return {str(reason): int(n) for reason, n in coverage["left_out"].items()}
    if isinstance(match.get("reasons"), Mapping):
        return {str(reason): int(n) for reason, n in match["reasons"].items()}
    if isinstance(told, list):
        return dict(Counter(str(entry.get("reason", "unreadable")) for entry in told))
    return {"unreadable": int(told)} if told else {}


def _left_out(match: Mapping[str, Any]) -> list[LeftOut]:
    """Return the reasons of training images that were left out, those that a verdict lacks first."""
    told = match.get("unreadable")
    examples: dict[str, str] = {}
    for entry in told if isinstance(told, list) else ():
        examples.setdefault(str(entry.get("reason")), f"{entry.get('source', '')}: {entry.get('detail', '')}")
    rows = [
        LeftOut(reason, number, REASONS.get(reason, ""), examples.get(reason, ""))
        for reason, number in training_reasons(match).items()
        if number
    ]
    return sorted(rows, key=lambda row: (row.reason in NO_IMAGES, -row.number, row.reason))
