"""The JSON files that are derived from a run: match.json, evaluation.json and report/report.json.

Each is sealed and says what it was made from (``memcore.runs.rows.MadeFrom``); ``memcore.runs.freshness`` compares that with
the run. Those of earlier versions have no format, or a smaller one, and no seal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from memcore.errors import DamagedFileError
from memcore.runs import layout
from memcore.runs.rows import MadeFrom, MatchRecord, ResizeRecord
from memcore.storage.base import Storage
from memcore.storage.digests import combine, digest_bytes, read_digest, read_sealed
from memcore.system.parsing import check_shape

#: The first formats of these files that have a seal.
MATCH_FORMAT = 3
EVALUATION_FORMAT = 2
REPORT_FORMAT = 1
#: What makes each of them again.
REMEDIES = {
    layout.MATCH: "give memcore match again",
    layout.EVALUATION: "give memcore evaluate again",
    layout.REPORT_RECORD: "give memcore report again",
}
_SINCE = {
    layout.MATCH: MATCH_FORMAT,
    layout.EVALUATION: EVALUATION_FORMAT,
    layout.REPORT_RECORD: REPORT_FORMAT,
}


def read_derived(storage: Storage, name: str) -> dict[str, Any] | None:
    """Return the content of one of these files; None if the run has none. Raises DamagedFileError."""
    if not storage.exists(name):
        return None
    place, again = f"{storage.place}/{name}", REMEDIES[name]
    record = read_sealed(storage.read(name), place, again, since=_SINCE[name])
    if "seal" in record or _SINCE[name] == 1:  # which it always had
        try:
            check_shape(record.get("made_from"), MadeFrom, "made_from")
        except ValueError as error:
            raise DamagedFileError(
                f"{place} is damaged: it does not say what it was made from ({error}); {again}"
            ) from None
    return record


def read_match(storage: Storage) -> MatchRecord | None:
    """Return the content of match.json; None if the run was not matched. Raises DamagedFileError."""
    record = read_derived(storage, layout.MATCH)
    if record is not None:
        try:
            check_shape(record, MatchRecord, "it", MatchRecord.__required_keys__)
            if record.get("resize") is not None:
                check_shape(record["resize"], ResizeRecord, "it.resize")
        except ValueError as error:
            place, again = f"{storage.place}/{layout.MATCH}", REMEDIES[layout.MATCH]
            raise DamagedFileError(f"{place} is damaged: {error}; {again}") from None
    if record is not None and "seal" in record:
        place, again = f"{storage.place}/{layout.MATCH}", REMEDIES[layout.MATCH]
        files = record.get("files")
        if not isinstance(files, dict) or layout.MATCHES not in files:
            raise DamagedFileError(f"{place} is damaged: it names no files of a match; {again}")
        record["files"] = {name: read_digest(digest, place, again) for name, digest in files.items()}
    return cast(MatchRecord | None, record)


def match_digest(storage: Storage, record: MatchRecord | None) -> str | None:
    """Return what tells one match of the run from another: the record's seal; None if the run was not matched.

    A match of an earlier format has no seal: its two files count.
    """
    if record is None or "seal" in record:
        return None if record is None else record["seal"]
    files = [name for name in (layout.MATCH, layout.MATCHES) if storage.exists(name)]
    return combine({name: digest_bytes(storage.read(name)) for name in files})


def evaluation_digest(storage: Storage, record: Mapping[str, Any] | None) -> str | None:
    """Return what tells one evaluation of the run from another, as ``match_digest`` does."""
    if record is None or "seal" in record:
        return None if record is None else str(record["seal"])
    return digest_bytes(storage.read(layout.EVALUATION))["sha256"]


def made_from(record: Mapping[str, Any]) -> MadeFrom | None:
    """Return what a derived file was made from; None if it is of an earlier format, which does not say it."""
    return cast(MadeFrom, record["made_from"]) if "seal" in record else None
