"""Folders of runs and indexes to be damaged, and changes of their files: with and without right digests."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

from fuzz.damage import ODD, damage, damage_value, nested, parse
from memcore.index import build_index, open_source
from memcore.report import write_report
from memcore.storage.digests import SEAL, seal
from tests.support.sealing import change_json
from tests.support.synthetic import write_training_set

Rng = np.random.Generator

DATA = Path(__file__).parents[1] / "tests" / "data"
#: Places outside of every run, to which links and recorded paths may lead; nothing may be read from there or changed.
OUTSIDE = "outside"
SECRET = "hush-7c1d0f"


def make_base(base: Path) -> None:
    """Make the folders that every case begins with, equal in every process. The working folder is ``base``'s parent."""
    base.mkdir()
    for name, kept in {
        "finished": "format-3/finished",
        "stopped": "format-3/stopped",
        "old": "format-2/finished",
        "old-index": "format-2/index",
        "older": "format-1-late",
        "images": "format-2/training",
    }.items():
        shutil.copytree(DATA / kept, base / name)
    write_training_set(base)
    for path in [*base.rglob("*")]:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    with contextlib.chdir(base):
        meta = Path("old-index/index.json")
        meta.write_text(meta.read_text().replace("@SOURCE@", "images"))
        build_index(Path("index"), open_source(Path("images")), shard_images=5)
        # no place of this process, so that an input means the same in another one
        change_json(Path("index/index.json"), lambda record: record["sources"][0].update(path="images"))
        write_report(Path("finished"))
    (base / OUTSIDE).mkdir()
    (base / OUTSIDE / "secret.txt").write_text(SECRET)
    for path in [*base.rglob(".lock*")]:
        path.unlink()


def read_base(base: Path) -> dict[str, bytes]:
    """Return every file of the folders that may be damaged."""
    return {
        str(path.relative_to(base)): path.read_bytes()
        for path in sorted(base.rglob("*"))
        if path.is_file() and path.relative_to(base).parts[0] not in (OUTSIDE, "images", "train.npy")
    }


def change_file(path: str, data: bytes, rng: Rng) -> bytes:
    """Return a file with changes of its kind, or of any bytes."""
    suffix = Path(path).suffix
    if rng.random() < 0.3:
        return damage(data, rng)
    if suffix in (".json", ".toml"):
        return change_record(data, suffix, rng)
    if suffix == ".parquet":
        return change_table(data, rng)
    if suffix == ".checkpoint":
        table = change_table(data.partition(b"\n")[2], rng)
        return b"memcore checkpoint 3 %s\n" % hashlib.sha256(table).hexdigest().encode() + table
    if suffix == ".sqlite":
        return change_database(data, rng)
    return damage(data, rng)


def change_record(data: bytes, suffix: str, rng: Rng) -> bytes:
    """Return a .json or .toml file with other values, sealed as one that was written so, or nested too deep."""
    if rng.random() < 0.05:
        return nested(suffix, rng)
    value = damage_value(parse(data, suffix), rng)
    try:
        if isinstance(value, dict) and SEAL in value and rng.random() < 0.9:
            value = seal(value)
        return to_bytes(value, suffix)
    except (
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ):  # TOML has no null, UTF-8 no half of a pair
        return damage(data, rng)


def to_bytes(value: Any, suffix: str) -> bytes:
    return (tomli_w.dumps(value) if suffix == ".toml" else json.dumps(value)).encode()


def change_table(data: bytes, rng: Rng) -> bytes:
    """Return a Parquet file with other values, rows, columns or types."""
    try:
        table = pq.read_table(io.BytesIO(data))
        for _ in range(int(rng.integers(1, 3))):
            change = _TABLE_CHANGES[int(rng.integers(0, len(_TABLE_CHANGES)))]
            table = change(table, rng)
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=int(rng.choice([1, 2, 1000])))
    except (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError, IndexError, AttributeError):
        return damage(data, rng)  # rows that make no table
    return sink.getvalue()


def _cells(table: pa.Table, rng: Rng) -> pa.Table:
    """Change values, of which the types stay where that is possible."""
    schema = table.schema
    rows = damage_value(table.to_pylist(), rng)
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.Table.from_pylist(rows)


def _column(table: pa.Table, rng: Rng) -> pa.Table:
    at = int(rng.integers(0, table.num_columns))
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return table.remove_column(at)
    if kind == 1:
        return table.append_column(table.schema.field(at), table.column(at))
    names = list(table.schema.names)
    if kind == 2:
        names[at] = str(ODD[int(rng.integers(0, len(ODD)))])[:100].encode("utf-8", "replace").decode()
        return table.rename_columns(names)
    return table.select([names[i] for i in rng.permutation(len(names))])


def _type(table: pa.Table, rng: Rng) -> pa.Table:
    at = int(rng.integers(0, table.num_columns))
    kinds = (
        *(
            pa.string(),
            pa.large_string(),
            pa.int8(),
            pa.int64(),
            pa.uint64(),
            pa.float32(),
            pa.float64(),
            pa.bool_(),
        ),
        *(
            pa.binary(),
            pa.decimal128(38, 3),
            pa.timestamp("ns"),
            pa.null(),
            pa.list_(pa.int64()),
            pa.date32(),
        ),
    )
    kind = kinds[int(rng.integers(0, len(kinds)))]
    try:
        column = table.column(at).cast(kind, safe=False)
    except pa.ArrowException:
        column = pa.nulls(table.num_rows, kind)
    if rng.random() < 0.2:
        column = pc_encode(column)
    return table.set_column(at, table.schema.names[at], column)


def pc_encode(column: Any) -> Any:
    return column.dictionary_encode()


def _rows(table: pa.Table, rng: Rng) -> pa.Table:
    count = table.num_rows
    order = [
        rng.permutation(count),
        np.arange(count)[::-1],
        np.repeat(np.arange(count), 2),
        np.arange(0),
        np.arange(count)[: int(rng.integers(0, count + 1))],
    ][int(rng.integers(0, 5))]
    return table.take(pa.array(order, pa.int64()))


def _metadata(table: pa.Table, rng: Rng) -> pa.Table:
    told = dict(table.schema.metadata or {b"memcore": b"{}"})
    key = list(told)[int(rng.integers(0, len(told)))]
    try:
        told[key] = json.dumps(damage_value(json.loads(told[key]), rng)).encode()
    except ValueError:
        told[key] = damage(told[key], rng)
    return table.replace_schema_metadata(told if rng.random() < 0.8 else None)


_TABLE_CHANGES: tuple[Callable[[pa.Table, Rng], pa.Table], ...] = (
    *(_cells, _cells, _cells, _column, _type, _rows, _metadata),
)


def change_database(data: bytes, rng: Rng) -> bytes:
    """Return an SQLite file with other rows, tables or settings."""
    odd = (
        "NULL",
        "-1",
        "0",
        "2",
        "9223372036854775807",
        "1e300",
        "'x'",
        "'\x1b[31m'",
        "x'00ff'",
        "''",
        "'copy'",
    )
    places = {
        "meta": ("name", "value"),
        "items": ("item", "prompt_id", "clique"),
        "events": ("id", "key", "annotator", "item", "label", "at", "digest"),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.sqlite"
        path.write_bytes(data)
        with contextlib.closing(sqlite3.connect(path)) as opened:
            opened.execute("PRAGMA journal_mode = DELETE")
            opened.execute("PRAGMA writable_schema = ON")
            for _ in range(int(rng.integers(1, 4))):
                table = list(places)[int(rng.integers(0, 3))]
                column = places[table][int(rng.integers(0, len(places[table])))]
                value = odd[int(rng.integers(0, len(odd)))]
                statement = (
                    "DELETE FROM sqlite_schema WHERE type = 'trigger'",
                    f"UPDATE {table} SET {column} = {value} WHERE rowid % {int(rng.integers(1, 3))} = 0",
                    f"DELETE FROM {table} WHERE rowid = {int(rng.integers(0, 4))}",
                    f"DROP TABLE {table}",
                    f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                    f"INSERT INTO {table} DEFAULT VALUES",
                    f"INSERT INTO {table} SELECT * FROM {table}",
                    "DROP VIEW labels",
                    f"ALTER TABLE {table} RENAME TO other_{table}",
                    f"PRAGMA user_version = {int(rng.integers(0, 100))}",
                    f"UPDATE sqlite_schema SET sql = replace(sql, '{column}', 'zzz')",
                    "PRAGMA application_id = 7",
                )[int(rng.integers(0, 12))]
                with contextlib.suppress(sqlite3.Error):
                    opened.execute(statement)
                    if "RENAME TO" in statement:  # a view without an end in the table's place
                        rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
                        values = ", ".join(f"x AS {name}" for name in places[table])
                        opened.execute(f"CREATE VIEW {table} AS {rows} SELECT {values} FROM n")
                    opened.commit()
        return path.read_bytes()


def sign_again(files: Mapping[str, bytes], changed: dict[str, bytes], path: str) -> None:
    """Let the records that hold a changed file's digest hold its new one, and those that hold theirs."""
    root = path.partition("/")[0]
    old, new = (hashlib.sha256(f[path]).hexdigest() for f in (files, changed))
    sizes = len(files[path]), len(changed[path])
    if old == new:
        return
    for name in files:
        if not name.startswith(f"{root}/") or name == path or not name.endswith((".json", ".toml")):
            continue
        current = changed.get(name, files[name])
        if old.encode() not in current:
            continue
        suffix = Path(name).suffix
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            value = _replaced(parse(current, suffix), old, new, sizes)
            if isinstance(value, dict) and SEAL in value:
                value = seal(value)
            changed[name] = to_bytes(value, suffix)
            sign_again(files, changed, name)


def _replaced(value: Any, old: str, new: str, sizes: tuple[int, int]) -> Any:
    if isinstance(value, dict):
        made = {key: _replaced(held, old, new, sizes) for key, held in value.items()}
        if old in value.values() and made.get("bytes") == sizes[0]:
            made["bytes"] = sizes[1]
        return made
    if isinstance(value, list):
        return [_replaced(held, old, new, sizes) for held in value]
    return new if value == old else value
