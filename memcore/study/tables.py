"""The tables of a study's models, written and read as Parquet: columns and schemas are those of ``rows.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from memcore.engine.task import manifest_name
from memcore.errors import RunError
from memcore.runs.schema import find_null, make_schema
from memcore.runs.tables import parquet_bytes
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest, verify_bytes
from memcore.study.rows import ROWS, TABLES, Name, rows_name
from memcore.system.claims import check_claims
from memcore.system.parquet import ParquetTable
from memcore.system.parsing import check_shape, hints_of, parse_json

#: Whole numbers that may be negative: a set of its own has half -1, a shifted image i is -1 - i, noise has no label.
_SIGNED = ("half", "image", "label")
#: Numbers that figures are made of.
_FINITE = ("losses", "score", "frechet")


class _Axes(TypedDict):
    """What the entries of a row's ``losses`` are, the first of these varying slowest."""

    timesteps: list[int]
    draws: int
    flips: int


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
        file = open_table(data)
        if not file.schema_arrow.equals(SCHEMAS[table]):
            raise RunError(
                f"{storage.place}/{name} has other columns than this version of memcore writes: "
                f"{', '.join(file.schema_arrow.names)}; do the study again in a new folder"
            )
        found = file.read(use_threads=False)
        found.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"{place} cannot be read as Parquet ({error}): {again}") from None
    try:
        _check_values(table, found)
    except ValueError as error:
        raise RunError(f"{place} is damaged: {error}, which memcore never writes; {again}") from None
    return found


def open_table(data: bytes) -> ParquetTable:
    """Return a table of Parquet whose claims are bounded. Raises ValueError, OSError or Arrow's errors for anything else."""
    file = ParquetTable(pa.BufferReader(data), pre_buffer=False)
    check_claims(file, data)
    return file


def _check_values(table: Name, found: pa.Table) -> None:
    """Raise ValueError for values that no study writes, and that no finding can be made of."""
    hints = hints_of(TABLES[table].row)
    for name, hint in hints.items():
        column = found[name]
        if null := find_null(column, hint, name):
            raise ValueError(f"a value of {null} is null")
        if pa.types.is_list(column.type):
            column = pc.list_flatten(column)
        if pa.types.is_integer(column.type) and name not in _SIGNED and (pc.min(column).as_py() or 0) < 0:
            raise ValueError(f"a value of {name} is negative")
        if name in _FINITE and pc.all(pc.is_finite(column)).as_py() is False:
            raise ValueError(f"a value of {name} is not finite")
    if table == "samples":
        shapes = zip(*(found[n].to_pylist() for n in ("height", "width", "channels")), strict=True)
        sizes = pc.binary_length(found["pixels"]).to_pylist()
        if any(h * w * c != size for (h, w, c), size in zip(shapes, sizes, strict=True)):
            raise ValueError("pixels of a sample are not as many as its height, width and channels")


def read_rows(
    storage: Storage, model: str, table: Name, files: Mapping[str, FileDigest]
) -> list[dict[str, Any]]:
    """Return a model's table as rows."""
    rows: list[dict[str, Any]] = read_table(storage, model, table, files).to_pylist()
    return rows


def read_axes(storage: Storage, model: str, files: Mapping[str, FileDigest]) -> dict[str, Any]:
    """Return what the entries of a model's ``losses`` are: ``timesteps``, ``draws``, ``flips``."""
    found = read_table(storage, model, "losses", files)
    metadata = found.schema.metadata or {}
    try:
        axes = parse_json(metadata.get(b"axes", b"{}"))
        if found.num_rows:
            check_shape(axes, _Axes, "axes")
            wanted = len(axes["timesteps"]) * axes["draws"] * axes["flips"]
            lengths = set(pc.list_value_length(found["losses"]).to_pylist())
            if wanted < 1 or lengths != {wanted}:
                raise ValueError("a row has not as many losses as its axes say")
    except ValueError as error:
        raise RunError(f"{storage.place}/{rows_name(model, 'losses')} is damaged: {error}") from None
    return dict(axes)


def list_models(storage: Storage) -> list[str]:
    """Return the ids of all models that have a row, sorted."""
    ending = ".model.parquet"
    return sorted(name.removesuffix(ending) for name in storage.names(ROWS) if name.endswith(ending))
