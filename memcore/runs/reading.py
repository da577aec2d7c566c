"""Read a run's files and check them: their version, their columns, and that findings are what was written.

The run folder, the report and the annotation page read through here, so that a file of an older or newer version, or a
damaged one, means the same to all of them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple, cast

from memcore.engine import task as engine
from memcore.errors import ArgumentValueError, DamagedFileError, MissingExtraError, RunError
from memcore.runs import layout
from memcore.runs.derived import read_match
from memcore.runs.rows import FindingRow, ManifestRecord, MatchRow, QuarantineRow
from memcore.runs.run_toml import check_meta
from memcore.runs.schema import ALL_FINDINGS, GIVEN_COLUMNS, MATCHES, QUARANTINE, added_columns
from memcore.runs.values import check_values
from memcore.storage.base import Storage
from memcore.storage.digests import (
    RESTORE,
    FileDigest,
    check_seal,
    combine,
    digest_bytes,
    read_digest,
    read_sealed,
    verify_bytes,
)
from memcore.storage.open import is_url
from memcore.storage.verified import open_verified, read_verified
from memcore.system.claims import check_claims
from memcore.system.parquet import ParquetTable
from memcore.system.parsing import check_shape, parse_toml

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

#: Format 2: shards may be long, so unfinished ones have a checkpoint; a manifest names its first prompt and counts them.
#: Format 3: every file has a digest, and every derived file says what it was made from.
FORMAT = 3
READABLE = (1, 2, 3)


class _Kind(NamedTuple):
    """A kind of table: its schema, the columns that runs of earlier formats may lack, and the type of its rows."""

    schema: pa.Schema
    added: frozenset[str]
    row: type


_KINDS = {
    layout.FINDINGS: _Kind(ALL_FINDINGS, added_columns(FindingRow), FindingRow),
    layout.QUARANTINE: _Kind(QUARANTINE, added_columns(QuarantineRow), QuarantineRow),
    "matches": _Kind(MATCHES, added_columns(MatchRow), MatchRow),
}


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
        raise RunError(f"{storage.place}/{layout.RUN} is damaged: {error}; {RESTORE}") from None
    head = meta.get("run")
    found = head.get("format") if isinstance(head, dict) else None
    check_seal(meta, f"{storage.place}/{layout.RUN}", RESTORE, required=found == FORMAT)
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
        check_meta(meta)
    except ValueError as error:
        raise RunError(f"{storage.place}/{layout.RUN} {error}") from None
    return meta


def check_finished(storage: Storage, meta: Mapping[str, Any], done: int) -> None:
    """Raise RunError for an unfinished run of an earlier format, which is not resumed; ``done`` prompts are done."""
    head, count = meta["run"], int(meta["prompts"]["count"])
    if head["format"] < FORMAT and done < count:
        raise RunError(
            f"{storage.place} is an unfinished run of format {head['format']}, which has no digests of its files: "
            f"{count - done:,} of {count:,} prompts are not done. Finish it with the version that made it, memcore "
            f"{head.get('memcore', '?')}, or start it again in another folder"
        )


def opens_prompts(storage: Storage, meta: Mapping[str, Any]) -> Callable[[], IO[bytes]]:
    """Return what opens prompts.parquet, which is checked as it is read; earlier formats have no digest of it.

    Raises KeyError and DamagedFileError for a run.toml without the digest.
    """
    if meta["run"]["format"] < FORMAT:
        return functools.partial(storage.open, layout.PROMPTS)
    expected = read_digest(meta["prompts"]["file"], f"{storage.place}/{layout.RUN}")
    return functools.partial(open_verified, storage, layout.PROMPTS, expected)


def finished(storage: Storage) -> list[str]:
    """Return the names of the shards that have a manifest, in order of their prompts, by one listing."""
    return [task for task in engine.finished(storage) if layout.is_shard(task)]


def read_manifest(storage: Storage, shard: str) -> ManifestRecord:
    """Return a shard's manifest; RunError if it is damaged.

    Manifests of format 1 may lack the numbers of findings and failures: these are counted in the shard's table.
    """
    name = layout.manifest_name(shard)
    place, again = f"{storage.place}/{name}", "remove it, and the same command does its shard again"
    found = read_sealed(storage.read(name), place, again, since=FORMAT)
    try:
        made: dict[str, Any] = {
            "generated": int(found.pop("generated")),
            "seconds": dict(found.pop("seconds")),
            **found,
        }
        check_shape(made, ManifestRecord, "it", ("findings", "failed"))
        if "files" in made:
            made["files"] = {n: read_digest(d, place, again) for n, d in made["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{place} is damaged: {type(error).__name__} {error}; {again}") from None
    manifest = cast(ManifestRecord, made)
    if "findings" not in made:
        status = _shard_table(storage, layout.FINDINGS, shard, manifest, ("status",))["status"]
        for kind, word in (("findings", "finding"), ("failed", "failed")):
            made[kind] = pc.sum(pc.equal(status, word)).as_py() or 0
    return manifest


def findings_sha256(storage: Storage, shard: str, manifest: ManifestRecord) -> str:
    """Return the sha256 of a shard's findings that its manifest holds; of the oldest runs, that of the file."""
    if "files" in manifest:
        return _recorded(storage, shard, manifest, layout.findings_name(shard))["sha256"]
    if "sha256" in manifest:
        return manifest["sha256"]
    return digest_bytes(storage.read(layout.findings_name(shard)))["sha256"]


def findings_digest(storage: Storage, manifests: Mapping[str, ManifestRecord] | None = None) -> str:
    """Return one digest of the findings of all finished shards; ``manifests`` are theirs, where they are read already."""
    if manifests is None:
        manifests = {shard: read_manifest(storage, shard) for shard in finished(storage)}
    return combine({shard: findings_sha256(storage, shard, held) for shard, held in manifests.items()})


def findings_table(storage: Storage, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a finished shard's rows, by prompt; RunError unless they are those that its manifest was written for.

    With ``columns`` only these are read: pairs may take a thousand times the space of the rest.
    """
    return _shard_table(storage, layout.FINDINGS, shard, read_manifest(storage, shard), columns)


def quarantine_table(storage: Storage, shard: str, manifest: ManifestRecord | None = None) -> pa.Table:
    """Return what a finished shard quarantined; an empty table if that is nothing. RunError if the file was changed."""
    held = manifest or read_manifest(storage, shard)
    name = layout.quarantine_name(shard)
    there = name in held["files"] if "files" in held else storage.exists(name)
    return _shard_table(storage, layout.QUARANTINE, shard, held) if there else QUARANTINE.empty_table()


def matches_table(storage: Storage) -> pa.Table | None:
    """Return the rows of matches.parquet, or None if the run was not matched yet.

    From format 3 on match.json is written last: without it there are no matches.
    """
    record = read_match(storage)
    again = "give memcore match again"
    if record is None or not ("files" in record or storage.exists(layout.MATCHES)):
        return None
    place = f"{storage.place}/{layout.MATCHES}"
    try:
        if "files" in record:
            data = read_verified(storage, layout.MATCHES, record["files"][layout.MATCHES], again)
        else:
            data = storage.read(layout.MATCHES)
        return _table("matches", place, data)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise RunError(f"{place} cannot be read: {error}; {again}") from None


class ShardTables(NamedTuple):
    """All that a finished shard holds."""

    manifest: ManifestRecord
    findings: pa.Table
    quarantine: pa.Table


def read_shard(storage: Storage, shard: str, columns: Sequence[str] | None = None) -> ShardTables:
    """Return a finished shard's manifest, its rows, as ``findings_table`` does, and what it quarantined."""
    manifest = read_manifest(storage, shard)
    rows = _shard_table(storage, layout.FINDINGS, shard, manifest, columns)
    return ShardTables(manifest, rows, quarantine_table(storage, shard, manifest))


def _shard_table(
    storage: Storage, kind: str, shard: str, manifest: ManifestRecord, columns: Sequence[str] | None = None
) -> pa.Table:
    name = layout.findings_name(shard) if kind == layout.FINDINGS else layout.quarantine_name(shard)
    place = f"{storage.place}/{name}"
    again = f"remove {storage.place}/{layout.manifest_name(shard)}, and the same command does it again"
    sha256 = manifest.get("sha256") if kind == layout.FINDINGS else None
    try:
        data = storage.read(name)
        if "files" in manifest:
            verify_bytes(data, _recorded(storage, shard, manifest, name), place, again)
        elif sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedFileError(
                f"{place} is damaged: its sha256 differs from the one in its manifest; {again}"
            )
        table = _table(kind, place, data, columns)
        if kind == layout.FINDINGS and "files" in manifest and table.num_rows != manifest["prompts"]:
            raise RunError(
                f"{place} has {table.num_rows:,} rows where its manifest counts {manifest['prompts']:,} prompts; {again}"
            )
        return table
    except FileNotFoundError:
        raise RunError(
            f"{place} is missing although its manifest says that the shard is done; {again}"
        ) from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise RunError(f"{place} cannot be read: {error}; {again}") from None


def _recorded(storage: Storage, shard: str, manifest: ManifestRecord, name: str) -> FileDigest:
    """Return the digest of one of a shard's files."""
    if name not in manifest["files"]:
        place = f"{storage.place}/{layout.manifest_name(shard)}"
        raise DamagedFileError(f"{place} is damaged: it has no digest of {name}; remove it")
    return manifest["files"][name]


def _table(kind: str, place: str, data: bytes, wanted: Sequence[str] | None = None) -> pa.Table:
    """Return the table with this version's columns; RunError for a column that is missing or of another type."""
    schema, added, row = _KINDS[kind]
    unknown = [name for name in wanted or () if name not in schema.names]
    if unknown:
        raise ArgumentValueError(f"{kind} have no column {unknown[0]!r}; there are {', '.join(schema.names)}")
    file = _open_parquet(data)
    there = file.schema_arrow.names
    usual = [
        n for n in schema.names if n in there or n not in GIVEN_COLUMNS
    ]  # as rows of other runs always were
    fields = [f for f in schema if f.name in (usual if wanted is None else wanted)]
    missing = [f.name for f in fields if f.name not in there and f.name not in added]
    if missing:
        raise RunError(f"{place} has no column {missing[0]!r}")
    twice = [f.name for f in fields if there.count(f.name) > 1]
    if twice:
        raise RunError(f"{place} has several columns {twice[0]!r}")
    table = _read_columns(file, [f.name for f in fields if f.name in there])
    table.validate(full=True)
    columns = []
    for field in fields:
        if field.name not in there:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table[field.name]
        if column.type != field.type:
            raise RunError(f"{place} has {column.type} in its column {field.name!r}, not {field.type}")
        columns.append(column)
    made = pa.table(columns, schema=pa.schema(fields))
    try:
        check_values(row, made, [field.name for field in fields if field.name in there])
    except ValueError as error:
        raise RunError(f"{place} is damaged: {error}, which memcore never writes") from None
    return made


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table in a file's bytes, read by this thread alone.

    Arrow's own threads may still hold Python objects when the interpreter ends, which ends the process by an abort.
    """
    return _read_columns(_open_parquet(data), columns)


def _open_parquet(data: bytes) -> ParquetTable:
    file = ParquetTable(pa.BufferReader(data), pre_buffer=False)
    try:
        check_claims(file, data)
    except ValueError as error:
        raise OSError(str(error)) from None
    return file


def _read_columns(file: ParquetTable, columns: Sequence[str] | None) -> pa.Table:
    return file.read(list(columns) if columns else None, use_threads=False)
