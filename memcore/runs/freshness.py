"""Which derived files of a run were made from something that has changed since.

Every derived file holds digests of what it was made from. Whoever reads one compares them with the run as it is now: a file
that does not fit is not used, and its reader says which file, why, and which command makes it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from memcore.errors import DamagedFileError, RunError
from memcore.runs import layout
from memcore.runs.annotations import Annotations, Item
from memcore.runs.derived import (
    REMEDIES,
    evaluation_digest,
    made_from,
    match_digest,
    read_derived,
    read_match,
)
from memcore.runs.rows import FindingRow, MadeFrom, MatchRecord, MatchRow
from memcore.runs.shown import shown_digest
from memcore.storage.base import Storage
from memcore.storage.digests import read_digest
from memcore.storage.local import LocalStorage
from memcore.storage.verified import read_verified

#: Returns the rows of these prompts that have findings, with their cliques and images.
ReadRows = Callable[[Collection[int]], Mapping[int, FindingRow]]


_DERIVED = frozenset({layout.MATCH, layout.EVALUATION, layout.ANNOTATIONS, layout.REPORT})


@dataclasses.dataclass(frozen=True)
class Stale:
    """A derived file that is not used: its name, and in words why and what to do."""

    file: str
    text: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON holds it."""
        return {"file": self.file, "text": self.text}


@dataclasses.dataclass(frozen=True)
class RunState:
    """What a run's derived files are made from, as it is now, and the matches of each prompt.

    ``match`` is None where the run was not matched, or from other findings.
    """

    storage: Storage
    digest: str
    findings: str
    match: MatchRecord | None
    matches: Mapping[int, Sequence[MatchRow]]
    read_rows: ReadRows

    def shown_digest(self, items: Sequence[Item]) -> str:
        """Return one digest of the pictures that are shown of these items."""
        rows = self.read_rows({item.prompt_id for item in items})
        files = self.match.get("files", {}) if self.match is not None else {}
        pairs = [(item.prompt_id, item.clique) for item in items]
        return shown_digest(pairs, rows, self.matches, files)


def has_derived_files(storage: Storage) -> bool:
    """Return whether a run has any file that may be stale, found by one listing."""
    return not _DERIVED.isdisjoint(storage.names())


def stale_lines(found: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what a command prints of stale files, one line each.

    >>> stale_lines([{"file": "match.json", "text": "matches.parquet was made from other findings"}])
    ['stale: matches.parquet was made from other findings']
    """
    return [f"stale: {entry['text']}" for entry in found]


def stale_match(record: MatchRecord | None, findings: str) -> Stale | None:
    """Return why the matches are not those of the run's findings; None if they are, or if their format does not say."""
    made = made_from(record) if record is not None else None
    if made is None or made["findings"] == findings:
        return None
    return Stale(
        layout.MATCHES,
        f"{layout.MATCHES} was made from other findings than the run has now: give memcore match again",
    )


def stale_evaluation(
    record: Mapping[str, Any] | None, findings: str, matches: str | None, annotations: str | None
) -> Stale | None:
    """Return why evaluation.json is not one of the run as it is now; None if it is.

    ``findings``, ``matches`` and ``annotations`` are the digests of what there is now. One of an earlier format has no
    digests: ``disagreeing_evaluation`` compares it with the matches themselves.
    """
    made = made_from(record) if record is not None else None
    if record is None or made is None:
        return None
    now: MadeFrom = {"run": made["run"], "findings": findings, "matches": matches, "annotations": annotations}
    changed = [
        name for name in ("findings", "matches", "annotations") if made.get(name, now[name]) != now[name]
    ]
    return _stale_evaluation(record, changed) if changed else None


def disagreeing_evaluation(
    record: Mapping[str, Any] | None, matches: Mapping[int, Sequence[MatchRow]] | None
) -> Stale | None:
    """Return why an evaluation of an earlier format, which has no digests, was made from other matches; None if it was not.

    It says of each prompt that it lists whether that was extracted.
    """
    if record is None or made_from(record) is not None or not isinstance(record.get("prompts"), list):
        return None
    against = record.get("against", "truth")
    name = {"truth": "extracted", "matches": "expected"}.get(against)
    if name is None or (against == "truth" and "extracted" not in record.get("stages", {})):
        return None
    for prompt in record["prompts"]:
        own = (matches or {}).get(int(prompt["prompt_id"]), [])
        if bool(prompt.get(name)) != any(match["extracted"] for match in own):
            return _stale_evaluation(record, ["matches"])
    return None


def _stale_evaluation(record: Mapping[str, Any], changed: Sequence[str]) -> Stale:
    against = record.get("against", "truth")
    how = "--truth FILE" if against == "truth" else f"--against {against}"
    made = made_from(record)
    if changed == ["matches"] and made is not None and made.get("matches") is None:
        why = "before the run was matched"
    else:
        why = f"from other {' and '.join(changed)} than the run has now"
    text = f"{layout.EVALUATION} was made {why}: give memcore evaluate {how} again"
    return Stale(layout.EVALUATION, text)


def find_stale(state: RunState) -> list[Stale]:
    """Return the derived files of a run that do not fit it as it is now, in the order in which they are made."""
    found = []
    record = read_match(state.storage)
    if stale := stale_match(record, state.findings):
        found.append(stale)
    now: MadeFrom = {
        "run": state.digest,
        "findings": state.findings,
        "matches": match_digest(state.storage, record),
    }
    now["annotations"], stale = _annotations(state)
    found += [stale] if stale else []
    evaluation = read_derived(state.storage, layout.EVALUATION)
    now["evaluation"] = evaluation_digest(state.storage, evaluation)
    stale = stale_evaluation(evaluation, now["findings"], now["matches"], now["annotations"])
    if stale := stale or disagreeing_evaluation(evaluation, state.matches):
        found.append(stale)
    if stale := _stale_report(state.storage, now):
        found.append(stale)
    return found


def inputs_of_report(state: RunState) -> MadeFrom:
    """Return what a report of the run is made from now."""
    match, evaluation = read_match(state.storage), read_derived(state.storage, layout.EVALUATION)
    return {
        "run": state.digest,
        "findings": state.findings,
        "matches": match_digest(state.storage, match),
        "evaluation": evaluation_digest(state.storage, evaluation),
        "annotations": _annotations(state)[0],
    }


def _annotations(state: RunState) -> tuple[str | None, Stale | None]:
    """Return the head of the annotations' events, and why they are not used; None and None without any."""
    if not isinstance(state.storage, LocalStorage) or not state.storage.exists(layout.ANNOTATIONS):
        return None, None
    try:
        with Annotations.open(state.storage.path, state.digest) as opened:
            head, stale = opened.head, stale_annotations(opened, state)
    except RunError as error:
        return None, Stale(layout.ANNOTATIONS, str(error).removeprefix(f"{state.storage.path}/"))
    return head, stale


def stale_annotations(opened: Annotations, state: RunState) -> Stale | None:
    """Return why the annotations are of other pictures than the run's matches show now; None if they are not."""
    if opened.shown is None or opened.shown == state.shown_digest(opened.items()):
        return None
    return Stale(
        layout.ANNOTATIONS,
        f"{layout.ANNOTATIONS} was made with other pictures than the run shows now: give memcore match as it was when it "
        "was made, or move it away and give memcore annotate again",
    )


def _stale_report(storage: Storage, now: MadeFrom) -> Stale | None:
    record = read_derived(storage, layout.REPORT_RECORD)
    if record is None or not storage.exists(layout.REPORT_PAGE):
        return None
    made = record["made_from"]
    changed = [name for name, value in now.items() if made.get(name) != value]
    if not changed:
        return _damaged_report(storage, record)
    others = " and ".join(changed)
    text = (
        f"{layout.REPORT_PAGE} was made from other {others} than the run has now: give memcore report again"
    )
    return Stale(layout.REPORT_PAGE, text)


def _damaged_report(storage: Storage, record: Mapping[str, Any]) -> Stale | None:
    """Return why a page is not the one that was written; None if it is."""
    place, again = f"{storage.place}/{layout.REPORT_RECORD}", REMEDIES[layout.REPORT_RECORD]
    files = record.get("files")
    if not isinstance(files, dict) or layout.REPORT_PAGE not in files:
        raise DamagedFileError(f"{place} is damaged: it has no digest of the page; {again}")
    try:
        read_verified(
            storage, layout.REPORT_PAGE, read_digest(files[layout.REPORT_PAGE], place, again), again
        )
    except DamagedFileError:
        return Stale(
            layout.REPORT_PAGE,
            f"{layout.REPORT_PAGE} is not the page that was written: give memcore report again",
        )
    return None
