"""What is known of a shard, and its checkpoint: the file that an unfinished shard is resumed from.

The file is one line of text, which names the format and the sha256 of what follows, and then Parquet. A reader therefore
knows that a checkpoint is the one that was written, whatever happened to the disk in between.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Container
from typing import TypedDict

from memcore.errors import DamagedFileError, MissingExtraError
from memcore.runs.reading import FORMAT, read_parquet
from memcore.runs.rows import FindingRow, QuarantineRow
from memcore.runs.schema import ALL_FINDINGS, find_null
from memcore.runs.tables import parquet_bytes, rows_to_table, table_to_rows, with_given_columns
from memcore.storage.digests import headed, without_head
from memcore.system.parsing import check_shape, hints_of, parse_json

try:
    import pyarrow as pa
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

_MAGIC = b"memcore checkpoint"
_HEAD = f"{_MAGIC.decode()} {FORMAT}"


class _About(TypedDict):
    """What a checkpoint's metadata hold."""

    quarantine: list[QuarantineRow]
    seconds: dict[str, float]
    started: float


@dataclasses.dataclass
class ShardRecord:
    """What is known of a shard so far: rows of its finished prompts, what was quarantined, and seconds by stage."""

    rows: list[FindingRow] = dataclasses.field(default_factory=list)
    quarantine: list[QuarantineRow] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    started: float = dataclasses.field(default_factory=time.time)

    @property
    def generated(self) -> int:
        """Return the images made so far."""
        return sum(int(row["generated"]) for row in self.rows)


def checkpoint_bytes(record: ShardRecord) -> bytes:
    """Return the content of a checkpoint's file."""
    about = {"quarantine": record.quarantine, "seconds": record.seconds, "started": record.started}
    table = rows_to_table(record.rows)
    data = parquet_bytes(table.replace_schema_metadata({"memcore": json.dumps(about)}))
    return headed(_HEAD, data)


def read_checkpoint(data: bytes, prompt_ids: Container[int], name: str) -> ShardRecord:
    """Return what a checkpoint's file holds of a shard with these prompts. Raises DamagedFileError."""
    table_bytes = without_head(_HEAD, data)
    if table_bytes is None:
        known = data.startswith(_MAGIC)
        what = "its sha256 differs from the recorded one" if known else "it is no checkpoint"
        raise DamagedFileError(f"{name} is damaged: {what}")
    try:
        table = read_parquet(table_bytes)
        about = parse_json(table.schema.metadata[b"memcore"])
        check_shape(about, _About, "its metadata")
        table = with_given_columns(table)
        if not table.schema.equals(ALL_FINDINGS):
            raise DamagedFileError(f"{name} has other columns than this memcore writes")
        table.validate(full=True)
        hints = hints_of(FindingRow)
        for column in hints:
            if (null := find_null(table[column], hints[column], column)) is not None:
                raise DamagedFileError(f"{name} has no value in each row of its column {null!r}")
        rows = table_to_rows(table)
        if not all(int(row["prompt_id"]) in prompt_ids for row in rows):
            raise DamagedFileError(f"{name} belongs to another shard")
        return ShardRecord(rows, list(about["quarantine"]), dict(about["seconds"]), float(about["started"]))
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{name} cannot be read: {error}") from None
