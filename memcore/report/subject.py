"""The input of every section of the page: a run, its findings with their pictures, and the runs to compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from memcore.report.finding import PICTURED, Finding, count_pictures, read_findings
from memcore.report.pictures import Pictures
from memcore.report.run import Run

#: Bytes of the page that pictures of the run may take; other sections have limits of their own.
PICTURE_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class Subject:
    """A run and what its page shows of it.

    ``findings`` are in rank order; the first of them, ``pictured``, have pictures. ``compared`` are other runs of the same
    model. A section that embeds further pictures opens an album of ``pictures``.
    """

    run: Run
    findings: Sequence[Finding]
    compared: Sequence[Run]
    pictures: Pictures

    @property
    def pictured(self) -> Sequence[Finding]:
        """Return the findings that have pictures."""
        return self.findings[:PICTURED]


def make_subject(run: Run, compared: Sequence[Run]) -> Subject:
    """Read the pictures of the run's findings."""
    pictures = Pictures()
    album = pictures.open_album(PICTURE_BYTES, count_pictures(len(run.findings)))
    return Subject(run, read_findings(run, album), compared, pictures)
