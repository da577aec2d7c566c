"""Tell whether what a run was matched and evaluated with is still the same: an index, a training set, planted truth.

They are outside of the run's folder, and no command opens a place because a folder names it: the user gives them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.evaluation.truth import read_truth_file
from memcore.index.reader import Index
from memcore.runs import layout
from memcore.runs.derived import read_derived, read_match
from memcore.runs.folder import RunFolder
from memcore.runs.freshness import Stale
from memcore.sources.in_memory import read_training_set, sampled_digest


def changed_inputs(
    folder: RunFolder,
    *,
    training: Path | None = None,
    index: Path | None = None,
    truth: Path | None = None,
) -> list[Stale]:
    """Return the files of a run that were made with something else than the given places hold now.

    Raises ConfigError where the run was not matched with a training set in memory, an index, or not evaluated against truth,
    and RunError where a place cannot be read.
    """
    match: Mapping[str, Any] = read_match(folder.storage) or {}
    found: list[Stale] = []
    if index is not None:
        recorded = _recorded(match, "digest", f"index={index}", "was not matched with an index")
        found += _compare(layout.MATCHES, recorded, Index.open(index, verify=False).digest, index, "match")
    if training is not None:
        recorded = _recorded(
            match, "identity", f"training={training}", "was not matched with a training set in memory"
        )
        images, names, *_ = read_training_set(training)
        found += _compare(layout.MATCHES, recorded, sampled_digest(images, names), training, "match")
    if truth is not None:
        evaluation = read_derived(folder.storage, layout.EVALUATION) or {}
        made = evaluation.get("made_from", {}).get("truth", {})
        recorded = _recorded(made, "sha256", f"truth={truth}", "was not evaluated against planted truth")
        now = read_truth_file(truth)[1]["sha256"]
        found += _compare(layout.EVALUATION, recorded, now, truth, "evaluate")
    return found


def _recorded(record: Mapping[str, Any], name: str, argument: str, what: str) -> str:
    if name not in record:
        raise ConfigError(
            f"{argument} cannot be compared: the run {what}, or by a version that did not record its digest"
        )
    return str(record[name])


def _compare(file: str, recorded: str, now: str, place: Path, command: str) -> Iterator[Stale]:
    if recorded != now:
        yield Stale(
            file, f"{file} was made with something else than {place} holds now: give memcore {command} again"
        )
