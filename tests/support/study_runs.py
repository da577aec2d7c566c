"""Runs a study in the process of a test."""

from __future__ import annotations

from pathlib import Path

from memcore.engine.scheduler import run_here
from memcore.study.folder import StudyFolder, StudyStart
from memcore.study.task import StudyJob


def do(
    protocol: Path, study: Path, *, retry: bool = False, finished: Path | None = None, quiet: bool = True
) -> StudyFolder:
    """Run the study in this process."""
    start = StudyStart(str(study), protocol.read_bytes(), str(protocol))
    return run_here(StudyJob(start, retry=retry, finished=str(finished or ""), quiet=quiet))
