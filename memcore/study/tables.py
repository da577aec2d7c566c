"""The tables of a study's models, written and read as Parquet: columns and schemas are those of ``rows.py``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memcore.errors import RunError
from memcore.runs.schema import make_schema
from memcore.runs.tables import parquet_bytes
from memcore.storage.base import Storage
from memcore.study.rows import ROWS, TABLES, Name, rows_name

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


def read_table(storage: Storage, model: str, table: Name) -> pa.Table:
    """Return a model's table as Arrow; an empty one if the model has none.

    Raises RunError if the file is damaged or its columns are not those of ``rows.py``.
    """
    name = rows_name(model, table)
    if not storage.exists(name):
        return SCHEMAS[table].empty_table()
    try:
        found = pq.read_table(io.BytesIO(storage.read(name)))
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{storage.place}/{name} is damaged ({error}): remove it and its manifest") from None
    if not found.schema.equals(SCHEMAS[table]):
        raise RunError(
            f"{storage.place}/{name} has other columns than this version of memcore writes: "
            f"{', '.join(found.schema.names)}; do the study again in a new folder"
        )
    return found


def read_rows(storage: Storage, model: str, table: Name) -> list[dict[str, Any]]:
    """Return a model's table as rows."""
    rows: list[dict[str, Any]] = read_table(storage, model, table).to_pylist()
    return rows


def read_axes(storage: Storage, model: str) -> dict[str, Any]:
    """Return what the entries of a model's ``losses`` are: ``timesteps``, ``draws``, ``flips``."""
    metadata = read_table(storage, model, "losses").schema.metadata or {}
    axes: dict[str, Any] = json.loads(metadata.get(b"axes", b"{}"))
    return axes


def list_models(storage: Storage) -> list[str]:
    """Return the ids of all models that have a row, sorted."""
    ending = ".model.parquet"
    return sorted(name.removesuffix(ending) for name in storage.names(ROWS) if name.endswith(ending))
