"""What became of an image that was compared, and how many images had which fate."""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any


class Verdict(enum.StrEnum):
    """What the filter found of an image. Only PASSED is proof that no training image of the index lies within delta.

    PASSED: every training image of the index is farther than delta. COPY: one is within delta. UNCOMPARED: the image itself
    could not be compared, for example since it has another size or holds NaN. UNDECIDED: a training image that may be
    within delta could not be read, or is no longer what was indexed.
    """

    PASSED = "passed"
    COPY = "copy"
    UNCOMPARED = "uncompared"
    UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True)
class Decision:
    """The verdict on one image. All but PASSED are withheld by the policies "refuse" and "replace".

    Attributes
    ----------
    verdict
        What was found.
    row, name, distance
        Of a COPY: the nearest training image by its row in the index and by its name (of equally near ones the first), and
        its distance in [0, 1]. None otherwise.
    reason, detail
        Of the other two: a code of docs/formats.md ("wrong-size", "alpha", ..., "broken" for NaN and None, "unread" for
        UNDECIDED) and what was found, in words. Empty otherwise.

    Examples
    --------
    >>> Decision(Verdict.UNCOMPARED, reason="broken", detail="NaN or infinity").withheld
    True
    """

    verdict: Verdict
    row: int | None = None
    name: str | None = None
    distance: float | None = None
    reason: str = ""
    detail: str = ""

    @property
    def withheld(self) -> bool:
        """Whether the image is not to be given out."""
        return self.verdict is not Verdict.PASSED

    def as_dict(self) -> dict[str, Any]:
        """Return what the log says of the image: the fields that say something."""
        told = dataclasses.asdict(self)
        return {name: value for name, value in told.items() if value not in (None, "")}


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a filter has decided so far; ``checked`` is the sum of the four verdicts.

    Attributes
    ----------
    checked, passed, copies, uncompared, undecided
        Images: all, and by their verdict.
    reasons
        The images that were uncompared or undecided, by reason.
    calls, seconds
        Calls, and the time that they took, in seconds, added up over threads.
    """

    checked: int = 0
    passed: int = 0
    copies: int = 0
    uncompared: int = 0
    undecided: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    calls: int = 0
    seconds: float = 0.0


class Tally:
    """Counts decisions; several threads may add at once."""

    def __init__(self) -> None:
        self._verdicts: Counter[Verdict] = Counter()
        self._reasons: Counter[str] = Counter()
        self._calls, self._seconds = 0, 0.0
        self._lock = threading.Lock()

    def add(self, decisions: Sequence[Decision], seconds: float) -> None:
        """Count the decisions of one call."""
        verdicts = Counter(decision.verdict for decision in decisions)
        reasons = Counter(decision.reason for decision in decisions if decision.reason)
        with self._lock:
            self._verdicts += verdicts
            self._reasons += reasons
            self._calls += 1
            self._seconds += seconds

    def read(self) -> Counts:
        """Return the counts so far."""
        with self._lock:
            of = self._verdicts
            return Counts(
                sum(of.values()),
                of[Verdict.PASSED],
                of[Verdict.COPY],
                of[Verdict.UNCOMPARED],
                of[Verdict.UNDECIDED],
                dict(sorted(self._reasons.items())),
                self._calls,
                self._seconds,
            )
