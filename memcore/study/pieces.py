"""What is kept of an unfinished model, so that a kill costs one piece of its work at most.

A piece is one attack at one checkpoint. Its tables are kept as they will be stored, and a mark that it is complete is
written after them. The files are the engine's checkpoints, ``partial/MODEL.*``. Each begins with the digest of the rest:
what is damaged is left aside with a warning, and done again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from memcore.engine.task import CHECKPOINTS
from memcore.errors import RunError
from memcore.runs.tables import parquet_bytes
from memcore.storage.base import Storage
from memcore.storage.digests import headed, without_head
from memcore.study.rows import TABLES, Name
from memcore.study.tables import SCHEMAS, open_table, rows_to_bytes

#: Rows of each table of a piece.
Tables = Mapping[Name, Sequence[Mapping[str, Any]]]
_STATE = "state"
_HEAD = "memcore study 1"


class Pieces:
    """The kept pieces of one unfinished model."""

    def __init__(self, storage: Storage, model: str) -> None:
        self._storage = storage
        self._prefix = f"{CHECKPOINTS}/{model}."

    def has(self, piece: str) -> bool:
        """Return whether a piece is complete."""
        marked = self._read(f"{piece}.done")
        return marked is not None and all(
            self._read(f"{piece}.{table}") is not None for table in marked.decode().split()
        )

    def keep(self, piece: str, made: Tables, axes: Mapping[str, Any] | None = None) -> None:
        """Keep the tables of a piece; ``axes`` is stated in each of them."""
        for table, rows in made.items():
            self._write(f"{piece}.{table}", rows_to_bytes(table, rows, axes))
        self._write(f"{piece}.done", " ".join(made).encode())

    def joined(self, pieces: Sequence[str]) -> dict[Name, bytes]:
        """Return, of all pieces in order, each table that has rows, as the bytes that are stored."""
        found: dict[Name, bytes] = {}
        for table in TABLES:
            parts = [part for piece in pieces if (part := self._table(f"{piece}.{table}")) is not None]
            if any(len(part) for part in parts):
                metadata = next((p.schema.metadata for p in parts if p.schema.metadata), None)
                whole = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
                whole = whole.cast(SCHEMAS[table]).replace_schema_metadata(metadata).combine_chunks()
                found[table] = parquet_bytes(whole)
        return found

    def state(self) -> bytes | None:
        """Return the saved state of the training; None if there is none."""
        return self._read(_STATE)

    def save_state(self, data: bytes) -> None:
        """Replace the saved state of the training."""
        self._write(_STATE, data)

    def weights(self, step: int) -> bytes | None:
        """Return the weights of a checkpoint; None if they are not there."""
        return self._read(f"weights-{step}")

    def save_weights(self, step: int, data: bytes) -> None:
        """Keep the weights of a checkpoint until its attacks are done."""
        self._write(f"weights-{step}", data)

    def samples(self, step: int, chunk: int) -> bytes | None:
        """Return a chunk of the samples of a checkpoint; None if it is not there."""
        return self._read(f"samples-{step}-{chunk}")

    def save_samples(self, step: int, chunk: int, data: bytes) -> None:
        """Keep a chunk of the samples of a checkpoint."""
        self._write(f"samples-{step}-{chunk}", data)

    def clear(self) -> None:
        """Remove everything that is kept."""
        model = self._prefix.removeprefix(f"{CHECKPOINTS}/")
        for name in self._storage.names(CHECKPOINTS):
            if name.startswith(model):
                self._storage.remove(f"{CHECKPOINTS}/{name}")

    def _write(self, name: str, data: bytes) -> None:
        self._storage.write(f"{self._prefix}{name}", headed(_HEAD, data))

    def _table(self, name: str) -> pa.Table | None:
        """Return a table that is kept under a name; None as ``_read`` does. Raises RunError if it is none of Parquet's."""
        data = self._read(name)
        try:
            return None if data is None else open_table(data).read(use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            place = f"{self._storage.place}/{self._prefix}"
            raise RunError(f"{place}{name} cannot be read as Parquet ({error}): remove {place}*") from None

    def _read(self, name: str) -> bytes | None:
        """Return what is kept under a name; None if it is not there, or damaged."""
        try:
            data = self._storage.read(f"{self._prefix}{name}")
        except FileNotFoundError:
            return None
        found = without_head(_HEAD, data)
        if found is None:
            place = f"{self._storage.place}/{self._prefix}{name}"
            warnings.warn(f"{place} is damaged: what it held is done again", stacklevel=2)
        return found
