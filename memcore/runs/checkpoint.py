"""What is known of a shard, and its checkpoint: the file that an unfinished shard is resumed from.

The file is one line of text, which names the format and the sha256 of what follows, and then Parquet. A reader therefore
knows that a checkpoint is the one that was written, whatever happened to the disk in between.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Container, Sequence
from typing import TypedDict

from memcore.errors import DamagedFileError, MissingExtraError
from memcore.runs.reading import FORMAT, read_parquet
from memcore.runs.rows import FindingRow, QuarantineRow
from memcore.runs.schema import ALL_FINDINGS, find_null
from memcore.runs.tables import parquet_bytes, rows_to_table, table_to_rows, with_given_columns
from memcore.runs.values import check_values
from memcore.storage.digests import headed, without_head
from memcore.system.parsing import check_shape, hints_of, parse_json
from memcore.types import PromptStatus

try:
    import pyarrow as pa
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

_MAGIC = b"memcore checkpoint"
#: The latest time that is believed, in seconds: the year 9999, the last that can be written as a date.
_LATEST = 253_000_000_000.0
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


def read_checkpoint(
    data: bytes, prompt_ids: Container[int], name: str, prompts: Sequence[str] | None = None
) -> ShardRecord:
    """Return what a checkpoint's file holds of a shard with these prompts. Raises DamagedFileError.

    What is checked is that it holds such values as memcore writes, and each prompt once; with ``prompts``, the run's, also
    that the texts are those.
    """
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
        check_values(FindingRow, table, list(hints))
        rows = table_to_rows(table)
        if not all(int(row["prompt_id"]) in prompt_ids for row in rows):
            raise DamagedFileError(f"{name} belongs to another shard")
        _check_rows(rows, about, prompt_ids, prompts)
        return ShardRecord(rows, list(about["quarantine"]), dict(about["seconds"]), float(about["started"]))
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{name} cannot be read: {error}") from None


def _check_rows(
    rows: Sequence[FindingRow], about: _About, prompt_ids: Container[int], prompts: Sequence[str] | None
) -> None:
    """Raise ValueError for rows and notes that no worker leaves: their file's digest fits, so somebody has made them."""
    if len({row["prompt_id"] for row in rows}) < len(rows):
        raise ValueError("it has a prompt twice")
    known = {status.value for status in PromptStatus}
    for row in rows:
        if row["status"] not in known or (row["status"] == PromptStatus.FINDING) != bool(row["cliques"]):
            raise ValueError(f"prompt {row['prompt_id']} has a status that its cliques do not bear out")
        if prompts is not None and row["prompt"] != prompts[int(row["prompt_id"])]:
            raise ValueError(f"prompt {row['prompt_id']} has another text than the run's")
    if not all(q["prompt_id"] is None or q["prompt_id"] in prompt_ids for q in about["quarantine"]):
        raise ValueError("its quarantine speaks of prompts of another shard")
    if not 0 <= about["started"] <= _LATEST or min(about["seconds"].values(), default=0) < 0:
        raise ValueError("its times are negative, or after the year 9999")
