"""``memcore show``: what a run found, quarantined and failed at, as text, CSV or JSON."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcore.commands._answer import Answer
from memcore.errors import ConfigError, RunError
from memcore.system.console import write_error
from memcore.system.units import count

if TYPE_CHECKING:
    from memcore.commands._table import Column
    from memcore.runs.folder import RunFolder

EXAMPLES = (
    "memcore show RUN",
    "memcore show RUN failures --limit 0",
    "memcore show RUN matches --format csv > matches.csv",
    "memcore show prompts.parquet",
)
NAME = "show"
HELP = "list a run's findings, matches, quarantine or failures, as text, CSV or JSON"
_LISTS = ("findings", "matches", "quarantine", "failures", "groups")
_FORMATS = ("text", "csv", "json")
#: Rows of a table of text, unless --limit says otherwise.
_ROWS = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, what to list of it, and how."""
    parser.add_argument(
        "run", metavar="RUN", help="the run's folder or URL, or a list that memcore prompts has written"
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=_LISTS,
        help="what to list (default: findings, the strongest first; groups of duplicates for a list of prompts)",
    )
    parser.add_argument("--format", choices=_FORMATS, default="text", help="(default: %(default)s)")
    parser.add_argument(
        "--limit", type=int, help=f"rows to list; 0 for all (default: {_ROWS} as text, all as CSV and JSON)"
    )


@dataclasses.dataclass(frozen=True)
class Listing:
    """Rows to list, how many there are in all, their fields, and the columns of a table of them."""

    rows: Sequence[Mapping[str, Any]]
    total: int
    names: Sequence[str]
    columns: Sequence[Column]


def run(arguments: argparse.Namespace) -> Answer:
    """Read the run and list what was asked for."""
    from memcore.runs.completeness import judge, not_decided_lines
    from memcore.runs.folder import RunFolder
    from memcore.runs.freshness import stale_lines

    form = "json" if arguments.json else arguments.format
    limit = (_ROWS if form == "text" else 0) if arguments.limit is None else arguments.limit
    if limit < 0:
        raise ConfigError(f"limit must be at least 0, got {limit}")
    limit = limit or sys.maxsize
    if Path(arguments.run).is_file():
        if arguments.what not in (None, "groups"):
            raise ConfigError(f"{arguments.run} is a file: {arguments.what} are those of a run's folder")
        listing = _groups(Path(arguments.run), limit)
        title = f"{arguments.run}: {count(listing.total, 'group')} of duplicates with a caption"
        return _answer(form, listing, title, {"file": arguments.run, "list": "groups"})
    what = arguments.what or "findings"
    if what == "groups":
        raise ConfigError(f"groups are those of a list that memcore prompts has written, got {arguments.run}")
    folder = RunFolder.open(arguments.run)
    listing = _READERS[what](folder, limit)
    gaps = judge(folder.storage, folder.meta).as_list()
    stale = [entry.as_dict() for entry in folder.stale()]
    about = {"run": folder.place, "list": what, "not_decided": gaps, "stale": stale}
    remarks = [*not_decided_lines(gaps), *stale_lines(stale)]
    return _answer(form, listing, _title(folder, what, listing.total), about, remarks)


def _answer(
    form: str, listing: Listing, title: str, about: Mapping[str, Any], remarks: Sequence[str] = ()
) -> Answer:
    from memcore.commands._table import csv_text, table_lines

    value = {**about, "count": listing.total, "rows": list(listing.rows)}
    if form == "json":
        return Answer(value, [Answer(value, []).text(as_json=True)])
    if form == "csv":
        for line in remarks:
            write_error(f"memcore: {line}")
        return Answer(value, [csv_text(listing.rows, listing.names)], exact=True)
    lines = [title]
    if listing.rows:
        lines += table_lines(listing.columns, listing.rows)
    if (left := listing.total - len(listing.rows)) > 0:
        lines.append(f"and {left:,} more: --limit 0 lists all")
    return Answer(value, [*lines, *remarks])


def _title(folder: RunFolder, what: str, total: int) -> str:
    of = f"of {count(len(folder.prompts), 'prompt')}"
    words = {
        "findings": f"{total:,} {of} with a clique of nearly the same image",
        "matches": f"{count(total, 'finding')} compared with training images",
        "quarantine": count(total, "entry", "entries") + " in the quarantine",
        "failures": f"{total:,} {of} failed",
    }
    return f"{folder.place}: {words[what]}"


def _findings(folder: RunFolder, limit: int) -> Listing:
    from memcore.commands._table import Column
    from memcore.runs import layout

    ranked = _ranked(folder)
    stale = any(entry.file == layout.MATCHES for entry in folder.stale())
    matches = None if stale else folder.matches()
    best: dict[int, Mapping[str, Any]] = {}
    for match in sorted(matches or [], key=_strength, reverse=True):
        best[match["prompt_id"]] = match
    rows = [_finding(rank, row, best) for rank, row in ranked[:limit]]
    rows = [{**row, **_given(folder, row)} for row in rows]
    has_image = "image" in folder.conditions
    names = [*_FINDING_NAMES, *_given_names(folder), *(_MATCH_NAMES if matches is not None else ())]
    columns = [
        Column("rank", lambda row: str(row["rank"])),
        Column("prompt", lambda row: str(row["prompt_id"])),
        Column("images", lambda row: f"{row['size']:,} of {row['generated']:,}"),
        Column("distance", lambda row: f"{row['mean_distance']:.4f}"),
        *([Column("to the given", _to_given)] if has_image else []),
        *([Column("copy of", _copied, "start")] if matches is not None else []),
        Column("text", lambda row: row["prompt"], "end"),
    ]
    return Listing([{name: row[name] for name in names} for row in rows], len(ranked), names, columns)


_FINDING_NAMES = (
    "rank",
    "prompt_id",
    "prompt",
    "size",
    "generated",
    "excluded",
    "mean_distance",
    "medoid_seed",
    "medoid_image",
    "cliques",
    "proven",
    "upper",
)
#: Of a run whose prompts have conditions: the label, the given image's file, and how near the generations are to it.
_CONDITION_NAMES = {
    "label": ("label",),
    "image": ("given_image", "given_distance", "given_near"),
    "mask": ("given_mask",),
}
_MATCH_NAMES = ("extracted", "training_index", "training_name", "l2", "tiled_l2", "copies", "eidetic")


def _given_names(folder: RunFolder) -> list[str]:
    return [name for kind in folder.conditions for name in _CONDITION_NAMES[kind]]


def _given(folder: RunFolder, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a finding's images were made from: the label, and where image and mask are kept."""
    from memcore.runs import layout

    record = folder.prompts.record(row["prompt_id"]) if folder.conditions else {}
    files = {
        f"given_{kind}": layout.condition_name(record[kind]) for kind in ("image", "mask") if kind in record
    }
    return {**({"label": record["label"]} if "label" in record else {}), **files}


def _to_given(row: Mapping[str, Any]) -> str:
    return "" if row["given_distance"] is None else f"{row['given_distance']:.4f}"


def _ranked(folder: RunFolder) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the findings with their ranks, as the report has them: by mean distance, ties by prompt id."""
    from memcore.graphs.findings import rank

    columns = [
        *("prompt_id", "prompt", "size", "generated", "excluded", "mean_distance", "medoid_seed"),
        *("medoid_image", "cliques", "proven", "upper", "given_distance", "given_near"),
    ]
    found = [row for row in folder.iter_findings(columns) if row["mean_distance"] is not None]
    order = rank([row["mean_distance"] for row in found], [row["prompt_id"] for row in found])
    return [(number, found[i]) for number, i in enumerate(order, 1)]


def _finding(rank: int, row: Mapping[str, Any], best: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    from memcore.runs import layout

    match = best.get(row["prompt_id"], {})
    return {
        **row,
        "rank": rank,
        "cliques": len(row["cliques"]),
        "medoid_image": row["medoid_image"] or layout.image_name(row["prompt_id"], row["medoid_seed"]),
        **{name: match.get(name) for name in _MATCH_NAMES},
    }


def _strength(match: Mapping[str, Any]) -> tuple[bool, int]:
    """Return the key by which the report orders a prompt's matches: extracted ones first, then larger cliques."""
    return not match["extracted"], int(match["clique"])


def _copied(row: Mapping[str, Any]) -> str:
    return str(row["training_name"] or row["training_index"]) if row["extracted"] else "-"


def _matches(folder: RunFolder, limit: int) -> Listing:
    from memcore.commands._table import Column
    from memcore.runs.derived import read_match
    from memcore.runs.schema import MATCHES

    found = folder.matches()
    if found is None:
        raise RunError(
            f"{folder.place} was not matched yet: memcore match {folder.place} --training FOLDER compares its findings "
            "with a training set"
        )
    ranks = {row["prompt_id"]: (number, row["prompt"]) for number, row in _ranked(folder)}
    last = (len(ranks) + 1, "")
    rows: list[dict[str, Any]] = [
        {"rank": ranks.get(m["prompt_id"], last)[0], "prompt": ranks.get(m["prompt_id"], last)[1], **m}
        for m in found
    ]
    rows.sort(key=lambda row: (row["rank"], *_strength(row)))
    record = read_match(folder.storage)
    metric = str(record.get("distance", "l2")) if record is not None else "l2"
    columns = [
        Column("rank", lambda row: str(row["rank"])),
        Column("prompt", lambda row: str(row["prompt_id"])),
        Column("images", lambda row: f"{row['size']:,}"),
        Column("copies", lambda row: f"{row['copies']:,}"),
        Column(metric, lambda row: f"{row[metric]:.4f}"),
        Column("copy", lambda row: "yes" if row["extracted"] else "no"),
        Column("nearest", lambda row: str(row["training_name"] or row["training_index"]), "start"),
        Column("text", lambda row: row["prompt"], "end"),
    ]
    return Listing(rows[:limit], len(rows), ["rank", "prompt", *MATCHES.names], columns)


def _quarantine(folder: RunFolder, limit: int) -> Listing:
    from memcore.commands._table import Column
    from memcore.runs.failed_prompts import first_cause
    from memcore.runs.schema import QUARANTINE

    rows, total = _first(folder.iter_quarantine(), limit)
    columns = [
        Column("prompt", lambda row: "" if row["prompt_id"] is None else str(row["prompt_id"])),
        Column("reason", lambda row: row["reason"], "end"),
        Column("source", lambda row: row["source"], "start"),
        Column("detail", lambda row: first_cause(row["detail"]), "end"),
    ]
    return Listing(rows, total, QUARANTINE.names, columns)


def _failures(folder: RunFolder, limit: int) -> Listing:
    from memcore.commands._table import Column
    from memcore.runs.failed_prompts import iter_failures

    rows, total = _first(iter_failures(folder), limit)
    columns = [
        Column("prompt", lambda row: str(row["prompt_id"])),
        Column("reason", lambda row: row["reason"], "end"),
        Column("cause", lambda row: row["cause"], "end"),
        Column("text", lambda row: row["prompt"], "end"),
    ]
    return Listing(rows, total, ["prompt_id", "prompt", "reason", "cause"], columns)


def _groups(path: Path, limit: int) -> Listing:
    """Return the groups of duplicates that memcore prompts found, the largest first."""
    from memcore.commands._table import Column
    from memcore.system.columns import iter_rows

    rows, total = _first(iter_rows(path), limit)
    names = ["prompt", "count", "training_index", "training_name", "members", "member_names"]
    if total and not set(names) <= set(rows[0]):
        raise RunError(
            f"{path} is not a list that memcore prompts of this version has written: make it again"
        )
    columns = [
        Column("images", lambda row: f"{row['count']:,}"),
        Column("caption of", lambda row: str(row["training_name"] or row["training_index"]), "start"),
        Column("caption", lambda row: row["prompt"], "end"),
    ]
    return Listing(rows, total, names, columns)


def _first(rows: Iterable[Any], limit: int) -> tuple[list[Any], int]:
    """Return the first rows, and how many there are: the others are only counted."""
    kept: list[Any] = []
    total = 0
    for row in rows:
        total += 1
        if len(kept) < limit:
            kept.append(row)
    return kept, total


_READERS: Mapping[str, Callable[[RunFolder, int], Listing]] = {
    "findings": _findings,
    "matches": _matches,
    "quarantine": _quarantine,
    "failures": _failures,
}
