"""The tables of a study's models, written and read as Parquet: columns and schemas are those of ``rows.py``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memcore.engine.task import manifest_name
from memcore.errors import RunError
from memcore.runs.schema import make_schema
from memcore.runs.tables import parquet_bytes
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest, verify_bytes
from memcore.study.rows import ROWS, TABLES, Name, rows_name
from memcore.system.parsing import check_shape, parse_json

SCHEMAS = {name: make_schema(table.row) for name, table in TABLES.items()}


def rows_to_bytes(
    table: Name, rows: Sequence[Mapping[str, Any]], axes: Mapping[str, Any] | None = None
) -> bytes:
    """Return rows as Parquet. ``axes`` is stated in the file's metadata as JSON."""
    schema = SCHEMAS[table]
    if axes is not None:
        schema = schema.with_metadata({"axes": json.dumps(axes, sort_keys=True)})
    return parquet_bytes(pa.Table.from_pylist(list(rows), schema=schema))


def write_rows(
    storage: Storage,
    model: str,
    table: Name,
    rows: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's table."""
    storage.write(rows_name(model, table), rows_to_bytes(table, rows, axes))


def read_table(storage: Storage, model: str, table: Name, files: Mapping[str, FileDigest]) -> pa.Table:
    """Return a model's table as Arrow; an empty one if the model has none.

    ``files`` are the digests of the model's tables, as its manifest recorded them. Raises RunError if the file is not the
    one that was written, is missing, or if its columns are not those of ``rows.py``.
    """
    name = rows_name(model, table)
    if name not in files:
        return SCHEMAS[table].empty_table()
    place, again = f"{storage.place}/{name}", f"remove it and {manifest_name(model)}, and run the study again"
    try:
        data = storage.read(name)
    except FileNotFoundError:
        raise RunError(f"{place} is missing: restore it, or {again}") from None
    verify_bytes(data, files[name], place, again)
    try:
        found = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{place} cannot be read as Parquet ({error}): {again}") from None
    if not found.schema.equals(SCHEMAS[table]):
        raise RunError(
            f"{storage.place}/{name} has other columns than this version of memcore writes: "
            f"{', '.join(found.schema.names)}; do the study again in a new folder"
        )
    return found


def read_rows(
    storage: Storage, model: str, table: Name, files: Mapping[str, FileDigest]
) -> list[dict[str, Any]]:
    """Return a model's table as rows."""
    rows: list[dict[str, Any]] = read_table(storage, model, table, files).to_pylist()
    return rows


def read_axes(storage: Storage, model: str, files: Mapping[str, FileDigest]) -> dict[str, Any]:
    """Return what the entries of a model's ``losses`` are: ``timesteps``, ``draws``, ``flips``."""
    metadata = read_table(storage, model, "losses", files).schema.metadata or {}
    try:
        axes = parse_json(metadata.get(b"axes", b"{}"))
        check_shape(axes, dict[str, object], "axes")
    except ValueError as error:
        raise RunError(f"{storage.place}/{rows_name(model, 'losses')} is damaged: {error}") from None
    return dict(axes)


def list_models(storage: Storage) -> list[str]:
    """Return the ids of all models that have a row, sorted."""
    ending = ".model.parquet"
    return sorted(name.removesuffix(ending) for name in storage.names(ROWS) if name.endswith(ending))
