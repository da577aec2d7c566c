"""Runs a study in the process of a test."""

from __future__ import annotations

from pathlib import Path

from memcore.engine.scheduler import run_here
from memcore.study.folder import StudyFolder, StudyStart
from memcore.study.task import StudyJob


def do(protocol: Path, study: Path, *, retry: bool = False) -> StudyFolder:
    """Run the study in this process."""
    return run_here(
        StudyJob(StudyStart(str(study), protocol.read_bytes(), str(protocol)), retry=retry, quiet=True)
    )
