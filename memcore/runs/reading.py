"""Read a run's files and check them: their version, their columns, and that findings are what was written.

The run folder, the report and the annotation page read through here, so that a file of an older or newer version, or a
damaged one, means the same to all of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict, cast

from memcore.engine import task as engine
from memcore.errors import ArgumentValueError, MissingExtraError, RunError
from memcore.runs import layout
from memcore.runs.rows import FindingRow, ManifestRecord, MatchRow, QuarantineRow
from memcore.runs.schema import FINDINGS, MATCHES, QUARANTINE, added_columns
from memcore.storage.base import Storage
from memcore.storage.open import is_url
from memcore.system.parsing import check_shape, parse_json, parse_toml

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

#: Format 2: shards may be long, so unfinished ones have a checkpoint; a manifest names its first prompt and counts them.
FORMAT = 2
READABLE = (1, 2)


class RunTable(TypedDict, total=False):
    """The table [run] of run.toml."""

    format: int
    digest: str
    created: str
    memcore: str
    seed: int


class GraphTable(TypedDict, total=False):
    """The table [graph] of run.toml: the settings that decide which pairs are near, and which cliques are findings."""

    threshold: float
    grid: tuple[int, int]
    min_clique: int


class BudgetTable(TypedDict, total=False):
    """The table [budget] of run.toml."""

    rule: str
    generations: int
    copy_rate: float
    miss_rate: float
    look_every: int
    stops: list[object]


class ScreenTable(TypedDict, total=False):
    """The table [screen] of run.toml."""

    score: str
    threshold: float
    seeds: int
    guidance: float


class PromptsTable(TypedDict, total=False):
    """The table [prompts] of run.toml."""

    count: int
    source: str
    digest: str
    blank: int
    repeated: int


class SamplerTable(TypedDict, total=False):
    """The table [sampler] of run.toml."""

    kind: str
    fingerprint: str
    describe: dict[str, str]


class RunMeta(TypedDict, total=False):
    """run.toml; runs of format 1 lack some of it."""

    run: RunTable
    config: dict[str, Any]
    graph: GraphTable
    budget: BudgetTable
    screen: ScreenTable
    prompts: PromptsTable
    sampler: SamplerTable


class _Kind(NamedTuple):
    """A kind of table: its schema, and the columns that runs of format 1 may lack."""

    schema: pa.Schema
    added: frozenset[str]


_KINDS = {
    layout.FINDINGS: _Kind(FINDINGS, added_columns(FindingRow)),
    layout.QUARANTINE: _Kind(QUARANTINE, added_columns(QuarantineRow)),
    "matches": _Kind(MATCHES, added_columns(MatchRow)),
}


#: What every command that reads a run needs of run.toml.
_NEEDED = {"graph": ("threshold", "grid", "min_clique"), "prompts": ("count",)}


#: Prompts of the largest run: a damaged count must not take all memory.
_MOST_PROMPTS = 10**9


def read_meta(storage: Storage) -> dict[str, Any]:
    """Return the content of ``run.toml``. Raises RunError if it is missing, damaged or of an unknown format."""
    try:
        meta = parse_toml(storage.read(layout.RUN))
    except (FileNotFoundError, NotADirectoryError):
        url = re.fullmatch(
            r"([a-z][a-z0-9+]+):/+(.*)", storage.place
        )  # pathlib reduces the two slashes of a URL to one
        if url and not is_url(storage.place):
            raise RunError(
                f"{url[1]}://{url[2]} is not a folder of this machine: copy it first, with memcore fetch "
                f"{url[1]}://{url[2]} FOLDER"
            ) from None
        raise RunError(
            f"{storage.place} is not a run folder: it holds no {layout.RUN} (memcore audit makes one)"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{storage.place}/{layout.RUN} is damaged: {error}") from None
    head = meta.get("run")
    found = head.get("format") if isinstance(head, dict) else None
    if type(found) is int and found > FORMAT:
        raise RunError(
            f"{storage.place} has the run format {found}, which a newer memcore made; this one reads up to format "
            f"{FORMAT}: install that version"
        )
    if type(found) is not int or found not in READABLE:
        raise RunError(
            f"{storage.place} has the run format {found!r}, this memcore reads {', '.join(map(str, READABLE))}"
        )
    try:
        check_shape(meta, RunMeta, layout.RUN)
    except ValueError as error:
        raise RunError(f"{storage.place}/{layout.RUN} is damaged: {error}") from None
    needed = {**_NEEDED, "screen": ("score", "threshold")} if meta.get("screen") else _NEEDED
    for table, names in needed.items():
        for name in names:
            if name not in meta.get(table, {}):
                raise RunError(f"{storage.place}/{layout.RUN} has no {name!r} in its table [{table}]")
    if not 1 <= meta["prompts"]["count"] <= _MOST_PROMPTS:
        raise RunError(
            f"{storage.place}/{layout.RUN} is damaged: it speaks of {meta['prompts']['count']} prompts"
        )
    return meta


def finished(storage: Storage) -> list[str]:
    """Return the names of the shards that have a manifest, in order of their prompts, by one listing."""
    return [task for task in engine.finished(storage) if layout.is_shard(task)]


def read_manifest(storage: Storage, shard: str) -> ManifestRecord:
    """Return a shard's manifest; RunError if it is damaged.

    Manifests of format 1 may lack the numbers of findings and failures: these are counted in the shard's table.
    """
    name = layout.manifest_name(shard)
    try:
        found = parse_json(storage.read(name))
        made: dict[str, Any] = {
            "generated": int(found.pop("generated")),
            "seconds": dict(found.pop("seconds")),
            **found,
        }
        check_shape(made, ManifestRecord, "it", ("findings", "failed"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{storage.place}/{name} is damaged: {error}; remove it, and the same command does its shard again"
        ) from None
    if "findings" not in made:
        expected = made.get("sha256")
        status = _shard_table(storage, layout.FINDINGS, shard, expected, ("status",))["status"]
        for kind, word in (("findings", "finding"), ("failed", "failed")):
            made[kind] = pc.sum(pc.equal(status, word)).as_py() or 0
    return cast(ManifestRecord, made)


def findings_table(storage: Storage, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a finished shard's rows, by prompt; RunError unless they are those that its manifest was written for.

    With ``columns`` only these are read: pairs may take a thousand times the space of the rest.
    """
    expected = read_manifest(storage, shard).get("sha256")
    return _shard_table(storage, layout.FINDINGS, shard, expected, columns)


def quarantine_table(storage: Storage, shard: str) -> pa.Table:
    """Return what a shard quarantined; an empty table if it has no such file."""
    if not storage.exists(layout.quarantine_name(shard)):
        return QUARANTINE.empty_table()
    return _shard_table(storage, layout.QUARANTINE, shard, None)


def matches_table(storage: Storage) -> pa.Table | None:
    """Return the rows of matches.parquet, or None if the run was not matched yet."""
    if not storage.exists(layout.MATCHES):
        return None
    try:
        return _table("matches", f"{storage.place}/{layout.MATCHES}", storage.read(layout.MATCHES))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise RunError(
            f"{storage.place}/{layout.MATCHES} cannot be read: {error}; give memcore match again"
        ) from None


class ShardTables(NamedTuple):
    """All that a finished shard holds."""

    manifest: ManifestRecord
    findings: pa.Table
    quarantine: pa.Table


def read_shard(storage: Storage, shard: str, columns: Sequence[str] | None = None) -> ShardTables:
    """Return a finished shard's manifest, its rows, as ``findings_table`` does, and what it quarantined."""
    manifest = read_manifest(storage, shard)
    rows = _shard_table(storage, layout.FINDINGS, shard, manifest.get("sha256"), columns)
    return ShardTables(manifest, rows, quarantine_table(storage, shard))


def _shard_table(
    storage: Storage, kind: str, shard: str, sha256: str | None, columns: Sequence[str] | None = None
) -> pa.Table:
    name = layout.findings_name(shard) if kind == layout.FINDINGS else layout.quarantine_name(shard)
    again = f"remove {storage.place}/{layout.manifest_name(shard)}, and the same command does it again"
    try:
        data = storage.read(name)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise RunError(
                f"{storage.place}/{name} is not the file that its manifest was written for: its sha256 differs; {again}"
            )
        return _table(kind, f"{storage.place}/{name}", data, columns)
    except FileNotFoundError:
        raise RunError(
            f"{storage.place}/{name} is missing although its manifest says that the shard is done; {again}"
        ) from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise RunError(f"{storage.place}/{name} cannot be read: {error}; {again}") from None


def _table(kind: str, place: str, data: bytes, wanted: Sequence[str] | None = None) -> pa.Table:
    """Return the table with this version's columns; RunError for a column that is missing or of another type."""
    schema, added = _KINDS[kind]
    unknown = [name for name in wanted or () if name not in schema.names]
    if unknown:
        raise ArgumentValueError(f"{kind} have no column {unknown[0]!r}; there are {', '.join(schema.names)}")
    there = pq.read_schema(pa.BufferReader(data)).names
    fields = [f for f in schema if wanted is None or f.name in wanted]
    missing = [f.name for f in fields if f.name not in there and f.name not in added]
    if missing:
        raise RunError(f"{place} has no column {missing[0]!r}")
    table = read_parquet(data, [f.name for f in fields if f.name in there])
    columns = []
    for field in fields:
        if field.name not in there:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table[field.name]
        if column.type != field.type:
            raise RunError(f"{place} has {column.type} in its column {field.name!r}, not {field.type}")
        columns.append(column)
    return pa.table(columns, schema=pa.schema(fields))


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table in a file's bytes, read by this thread alone.

    Arrow's own threads may still hold Python objects when the interpreter ends, which ends the process by an abort.
    """
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    return file.read(list(columns) if columns else None, use_threads=False)
