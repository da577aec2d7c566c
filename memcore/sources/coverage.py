"""The account of a source: every file, member and row in it is used, or left out for a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from memcore.errors import MemcoreError
from memcore.sources.base import Source, StoredSource, stands_for
from memcore.sources.entries import Batch, QuarantineEntry


class Coverage(TypedDict):
    """The counts of a source: ``pointed_at`` is ``images`` + ``texts`` (used) + the sum of ``left_out`` (by reason)."""

    pointed_at: int
    images: int
    texts: int
    left_out: dict[str, int]


class AccountError(MemcoreError):
    """The counts of what was read do not add up: a defect of memcore."""


def make_coverage(
    pointed_at: int, images: int, texts: int, left_out: Mapping[str, int], where: str
) -> Coverage:
    """Return the account of what was read; raise AccountError unless it adds up."""
    reasons = {reason: count for reason, count in sorted(left_out.items()) if count}
    told = images + texts + sum(reasons.values())
    if told != pointed_at:
        raise AccountError(
            f"{where} holds {pointed_at} files, members or rows, of which {told} are accounted for ({images} images, "
            f"{texts} texts, {dict(reasons)} left out): this is a fault of memcore, please report it"
        )
    return {"pointed_at": pointed_at, "images": images, "texts": texts, "left_out": reasons}


def count_reasons(entries: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Count the images and rows that quarantined entries stand for, by reason."""
    reasons: Counter[str] = Counter()
    for entry in entries:
        reasons[str(entry["reason"])] += stands_for(entry)
    return reasons


def add(coverages: Sequence[Coverage]) -> Coverage:
    """Return the sum of several sources' accounts."""
    left_out: Counter[str] = Counter()
    for coverage in coverages:
        left_out.update(coverage["left_out"])
    return {
        "pointed_at": sum(c["pointed_at"] for c in coverages),
        "images": sum(c["images"] for c in coverages),
        "texts": sum(c["texts"] for c in coverages),
        "left_out": dict(sorted(left_out.items())),
    }


def coverage_line(coverage: Coverage) -> str:
    """Return an account as a line of text.

    >>> coverage_line({"pointed_at": 12, "images": 6, "texts": 3, "left_out": {"alpha": 2, "empty": 1}})
    'pointed at 12: used 9 (6 images, 3 texts), left out 3 (2 alpha, 1 empty)'
    """
    images, texts = coverage["images"], coverage["texts"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in coverage["left_out"].items())
    of = (
        f" ({images} image{'' if images == 1 else 's'}, {texts} text{'' if texts == 1 else 's'})"
        if texts
        else ""
    )
    lost = sum(coverage["left_out"].values())
    return f"pointed at {coverage['pointed_at']}: used {images + texts}{of}, left out {lost}" + (
        f" ({reasons})" if reasons else ""
    )


class Account:
    """The account of a source, kept while it is read batch by batch and part by part."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.left_out: Sequence[QuarantineEntry] = source.left_out if isinstance(source, StoredSource) else ()
        self.texts = 0
        self.pointed_at = len(self.left_out)

    def take(self, batch: Batch, i: int) -> Sequence[QuarantineEntry]:
        """Count the texts that came with an entry; return what was left out with it."""
        if batch.beside is None:
            return ()
        self.texts += batch.beside[i].texts
        return batch.beside[i].left_out

    def end_part(self, part: int) -> None:
        """Count what a part holds once it has been read to its end."""
        self.pointed_at += self.size_of(part)

    def size_of(self, part: int) -> int:
        """Return how many files, members or rows a part holds."""
        return self._source.pointed_at(part) if isinstance(self._source, StoredSource) else 0

    def close(self, images: int, left_out: Iterable[QuarantineEntry]) -> Coverage | None:
        """Return the account, or None for a program's own source, which does not say what it holds."""
        if not isinstance(self._source, StoredSource):
            return None
        reasons = count_reasons(left_out)
        return make_coverage(self.pointed_at, images, self.texts, reasons, str(self._source.path))
