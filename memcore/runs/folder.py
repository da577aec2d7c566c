"""The folder of a run: what is written where, and how it is read. docs/formats.md describes it."""

from __future__ import annotations

import functools
import hashlib
import shlex
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from memcore.conditions import Condition
from memcore.engine import task as engine
from memcore.engine.journal import Journal, Sync, journal_segments
from memcore.errors import DamagedFileError, MemcoreError, MissingExtraError, RunError
from memcore.notebook import html_table
from memcore.runs import layout
from memcore.runs.checkpoint import ShardRecord as ShardRecord
from memcore.runs.checkpoint import checkpoint_bytes, read_checkpoint
from memcore.runs.conditions import StoredConditions
from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping
from memcore.runs.derived import read_match
from memcore.runs.finding_rows import FindingRows
from memcore.runs.freshness import RunState, Stale, find_stale, has_derived_files, stale_match
from memcore.runs.pictures import png_bytes
from memcore.runs.prompts import Prompts
from memcore.runs.reading import (
    FORMAT,
    check_finished,
    findings_digest,
    findings_table,
    matches_table,
    opens_prompts,
    quarantine_table,
    read_manifest,
    read_meta,
)
from memcore.runs.record_heads import check_answer_head, check_images_head
from memcore.runs.rows import FindingRow, ManifestRecord, MatchRow, QuarantineRow, ReceivedRecord
from memcore.runs.schema import FINDINGS, QUARANTINE
from memcore.runs.shards import MOST_SHARDS
from memcore.runs.shards import Shard as Shard
from memcore.runs.shards import shard_size as shard_size
from memcore.runs.tables import parquet_bytes, rows_to_table, table_to_rows
from memcore.sampling.received import Spent, forget_failures
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest, digest_bytes, seal
from memcore.storage.local import LocalStorage
from memcore.storage.open import open_storage
from memcore.system.console import printable
from memcore.system.credentials import redact
from memcore.system.plain_text import storable

try:
    import pyarrow as pa
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None


class RunFolder:
    """One audit's folder, opened. ``open`` reads it; ``runs.start.RunStart`` starts or resumes one.

    It is pickled for workers, which then need not open it again.
    """

    def __init__(
        self, storage: Storage, config: Config, digest: str, meta: Mapping[str, Any], prompts: Prompts
    ) -> None:
        self.storage = storage
        self.config = config
        self.digest = digest
        self.meta = meta
        self.prompts = prompts
        self._shards: list[Shard] = []
        self._stored_conditions: StoredConditions | None = None

    def __repr__(self) -> str:
        """Return one line; nothing is read for it."""
        return f"RunFolder({self.place!r}, prompts={len(self.prompts)}, source={self.config.source!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how far the run is, and its findings."""
        columns = ["prompt_id", "prompt", "size", "generated", "mean_distance"]
        try:
            done = sum(len(shard.prompt_ids) for shard in self.done())
            rows = FindingRows(self.iter_findings(columns))._repr_html_()
        except (MemcoreError, OSError) as error:
            rows = html_table([["error", error]])
            done = 0
        about = [["run", self.place], ["prompts done", f"{done:,} of {len(self.prompts):,}"]]
        return html_table(about) + rows

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Storage, Config, str, Mapping[str, Any], Prompts]]:
        """Pickle what was read, so that a worker opens nothing again."""
        return RunFolder, (self.storage, self.config, self.digest, self.meta, self.prompts)

    @property
    def place(self) -> str:
        """Return the folder's path or URL, as text."""
        return self.storage.place

    @property
    def path(self) -> Path:
        """Return the folder on this machine. Raises RunError for a run in an object store."""
        if isinstance(self.storage, LocalStorage):
            return self.storage.path
        raise RunError(
            f"{self.place} is not a folder of this machine: copy it first, with "
            f"memcore fetch {shlex.quote(self.place)} FOLDER"
        )

    @classmethod
    def open(cls, place: str | Path) -> RunFolder:
        """Open a run to read it. Raises RunError if ``place`` is not a run folder of a format that this memcore reads."""
        return cls.open_storage(open_storage(place))

    @classmethod
    def open_storage(cls, storage: Storage) -> RunFolder:
        """Open the run in a storage, as ``open`` does."""
        meta = read_meta(storage)
        try:
            config = from_mapping(meta["config"])
            prompts = Prompts(opens_prompts(storage, meta), int(meta["prompts"]["count"]), storage.place)
            run = cls(storage, config, str(meta["run"]["digest"]), meta, prompts)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{storage.place}/{layout.RUN} is damaged: {type(error).__name__} {error}"
            ) from None
        if meta["run"]["format"] < FORMAT:
            check_finished(storage, meta, sum(len(shard.prompt_ids) for shard in run.done()))
        return run

    def shards(self) -> list[Shard]:
        """Return all shards, in order of their prompts."""
        if not self._shards:
            count = len(self.prompts)
            step = shard_size(self.config, count)
            if count > step * MOST_SHARDS:
                raise RunError(
                    f"{self.place}/{layout.RUN} speaks of {count:,} prompts in shards of {step:,}, at most "
                    f"{MOST_SHARDS:,} shards are read: if it is damaged, restore it from a copy; else start the run again "
                    "in another folder with a larger shard_prompts"
                )
            groups = [range(i, min(i + step, count)) for i in range(0, count, step)]
            self._shards = [Shard(self._shard_id(ids), ids) for ids in groups]
        return self._shards

    def shard(self, task: str) -> Shard:
        """Return the shard of a task. Raises RunError if this run has no such shard."""
        name = layout.shard_id(task)
        count = len(self.prompts)
        first = name.partition("-")[0]
        if first.isdecimal() and int(first) < count:
            ids = range(int(first), min(int(first) + shard_size(self.config, count), count))
            if self._shard_id(ids) == name:
                return Shard(name, ids)
        raise RunError(f"{self.place} has no shard {task}")

    def _shard_id(self, prompt_ids: range) -> str:
        name = hashlib.sha256(f"{self.digest}:{','.join(map(str, prompt_ids))}".encode()).hexdigest()
        return f"{prompt_ids[0]:07d}-{name[:12]}"

    def is_done(self, shard: Shard) -> bool:
        """Tell whether the shard has a manifest."""
        return self.storage.exists(layout.manifest_name(shard.task))

    def done(self) -> list[Shard]:
        """Return the shards with a manifest, in order of their prompts, found by one listing."""
        names = set(engine.finished(self.storage))
        return [shard for shard in self.shards() if shard.task in names]

    def pending(self) -> list[Shard]:
        """Return the shards without a manifest, in order of their prompts."""
        names = set(engine.finished(self.storage))
        return [shard for shard in self.shards() if shard.task not in names]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return what each prompt's images are made from besides it: names of label, image and mask."""
        return tuple(self.meta["prompts"].get("conditions", ()))

    def condition(self, prompt_id: int) -> Condition | None:
        """Return what a prompt's images are made from besides it; None for a prompt that is all."""
        if not self.conditions:
            return None
        if self._stored_conditions is None:
            self._stored_conditions = StoredConditions(self.storage)
        return self._stored_conditions.find(self.prompts.record(prompt_id))

    def image_path(self, prompt_id: int, seed: int) -> Path:
        """Return where an image of the run is kept."""
        return self.path / layout.image_name(prompt_id, seed)

    def write_shard(
        self, shard: Shard, record: ShardRecord, *, given_up: bool = False, spent: Spent | None = None
    ) -> None:
        """Write findings, quarantine, then the manifest: only with the last is the shard done.

        ``spent`` is what was received for it from a hosted model.
        """
        files = {layout.findings_name(shard.task): parquet_bytes(rows_to_table(record.rows))}
        if record.quarantine:
            entries = [
                {**entry, "source": storable(entry["source"]), "detail": storable(entry["detail"])}
                for entry in record.quarantine
            ]
            broken = pa.Table.from_pylist(entries, schema=QUARANTINE)
            files[layout.quarantine_name(shard.task)] = parquet_bytes(broken)
        else:
            self.storage.remove(layout.quarantine_name(shard.task))  # of a worker that was killed before
        for name, data in files.items():
            self.storage.write(name, data)
        signature = engine.sign_manifest(record.started, given_up=given_up)
        manifest: ManifestRecord = {
            "format": FORMAT,
            "shard": shard.id,
            "first_prompt": shard.prompt_ids[0],
            "prompts": len(shard.prompt_ids),
            "generated": record.generated,
            "findings": sum(row["status"] == "finding" for row in record.rows),
            "failed": sum(row["status"] == "failed" for row in record.rows),
            "given_up": signature["given_up"],
            "started": signature["started"],
            "finished": signature["finished"],
            "writer": signature["writer"],
            "seconds": {name: round(value, 4) for name, value in record.seconds.items()},
            "files": {name: digest_bytes(data) for name, data in files.items()},
        }
        if spent is not None:
            manifest["received"] = cast("ReceivedRecord", spent.as_dict())
        engine.write_manifest(self.storage, shard.task, seal(manifest))
        self.storage.remove(layout.checkpoint_name(shard.task))

    def check_prompts(self) -> None:
        """Check all of prompts.parquet, before anything is changed that needs it. Raises DamagedFileError."""
        self.prompts.check()

    def given_up(self) -> list[Shard]:
        """Return the shards that were given up because they failed too often."""
        return [shard for shard in self.done() if self._read_manifest(shard).get("given_up")]

    def with_failures(self) -> list[Shard]:
        """Return the finished shards with prompts that failed."""
        return [shard for shard in self.done() if self._read_manifest(shard)["failed"]]

    def reopen(self, shard: Shard) -> None:
        """Make a finished shard an unfinished one whose checkpoint has all prompts but those that failed."""
        manifest = self._read_manifest(shard)
        rows = [r for r in table_to_rows(findings_table(self.storage, shard.task)) if r["status"] != "failed"]
        kept = {int(row["prompt_id"]) for row in rows}
        found = quarantine_table(self.storage, shard.task, manifest).to_pylist()
        notes = [entry for entry in found if entry["prompt_id"] in kept]
        record = ShardRecord(rows, notes, dict(manifest["seconds"]), float(manifest["started"]))
        self.write_partial(shard, record)  # first: killed in between, the shard is still finished
        self.forget(shard)

    def forget(self, shard: Shard) -> None:
        """Remove the shard's files, its manifest first, so that it is done again.

        Pictures that a hosted model gave stay; what it refused is asked for again.
        """
        if journal_segments(self.storage, shard.task, layout.RECEIVED):
            forget_failures(self.received(shard), shard.prompt_ids)
        self.storage.remove(layout.manifest_name(shard.task))
        self.storage.remove(layout.quarantine_name(shard.task))

    def write_partial(self, shard: Shard, record: ShardRecord) -> None:
        """Write a checkpoint of an unfinished shard, which whoever does it next resumes."""
        self.storage.write(layout.checkpoint_name(shard.task), checkpoint_bytes(record))

    def read_partial(self, shard: Shard) -> ShardRecord:
        """Return the shard's checkpoint; an empty record if there is none.

        One that is damaged is not used: a warning says so, and so does an entry in the record's quarantine.
        """
        name = layout.checkpoint_name(shard.task)
        try:
            data = self.storage.read(name)
            return read_checkpoint(data, shard.prompt_ids, f"{self.place}/{name}", self.prompts)
        except FileNotFoundError:
            return ShardRecord()
        except (OSError, DamagedFileError) as error:
            text = f"{error}; it is not used, and the prompts of its shard are done again"
            warnings.warn(printable(text), RuntimeWarning, stacklevel=2)
            note: QuarantineRow = {
                "prompt_id": None,
                "source": name,
                "reason": "checkpoint",
                "detail": redact(text),
            }
            return ShardRecord(quarantine=[note])

    def journal(self, shard: Shard, *, sync: Sync = "interval") -> Journal:
        """Open the journal of an unfinished shard, which holds images of its prompts in flight: of this run alone."""
        check = functools.partial(check_images_head, prompt_ids=shard.prompt_ids)
        return Journal(self.storage, shard.task, self.digest, sync=sync, check=check)

    def received(self, shard: Shard) -> Journal:
        """Open the journal of what a hosted model answered for a shard: each record is durable once it is appended.

        Raises DamagedFileError for one with a record that nobody writes so: without it less would seem to be spent.
        """
        check = functools.partial(check_answer_head, prompt_ids=shard.prompt_ids)
        journal = Journal(
            self.storage, shard.task, self.digest, sync="record", folder=layout.RECEIVED, check=check
        )
        if journal.foreign:
            raise DamagedFileError(
                f"{self.place}: what was received cannot be counted, {journal.foreign}; restore it from a copy"
            )
        return journal

    def tidy(self) -> None:
        """Remove what killed workers left, and checkpoints of shards that are done, which a second launcher may write."""
        engine.tidy(self.storage)

    def write_image(self, prompt_id: int, seed: int, pixels: NDArray[np.uint8]) -> FileDigest:
        """Write an image as PNG, and return the file's digest, which belongs into the prompt's row."""
        data = png_bytes(pixels)
        self.storage.write(layout.image_name(prompt_id, seed), data)
        return digest_bytes(data)

    def iter_findings(self, columns: Sequence[str] | None = None) -> Iterator[FindingRow]:
        """Yield the rows of all finished shards, by prompt id, a shard at a time; of ``columns`` alone if they are given."""
        for shard in self.done():
            table = findings_table(self.storage, shard.task, columns)
            # a row may hold 100,000 pairs, each an object of its own
            for batch in table.to_batches(8 if "pairs" in table.schema.names else 1000):
                yield from batch.to_pylist()

    def findings(self) -> FindingRows:
        """Return the rows of all finished shards as a list, a table in a notebook: for runs that fit into memory."""
        return FindingRows(self.iter_findings())

    def iter_quarantine(self) -> Iterator[QuarantineRow]:
        """Yield the quarantine's entries of all finished shards, a shard at a time."""
        for shard in self.done():
            yield from quarantine_table(self.storage, shard.task).to_pylist()

    def quarantine(self) -> list[QuarantineRow]:
        """Return the quarantine's entries of all finished shards."""
        return list(self.iter_quarantine())

    def manifests(self) -> list[ManifestRecord]:
        """Return the manifests of all finished shards, in order of their prompts."""
        return [self._read_manifest(shard) for shard in self.done()]

    def _read_manifest(self, shard: Shard) -> ManifestRecord:
        return read_manifest(self.storage, shard.task)

    def findings_digest(self) -> str:
        """Return one digest of the findings of all finished shards."""
        return findings_digest(
            self.storage, {shard.task: self._read_manifest(shard) for shard in self.done()}
        )

    def matches(self) -> list[MatchRow] | None:
        """Return the rows of matches.parquet, or None if the run was not matched yet.

        Raises RunError if they were made from other findings than the run has now.
        """
        record = read_match(self.storage)
        if record is None:
            return None
        if stale := stale_match(record, self.findings_digest()):
            raise RunError(f"{self.place}/{stale.text}")
        table = matches_table(self.storage)
        return None if table is None else list(table.to_pylist())

    def state(self) -> RunState:
        """Return what the run's derived files are made from now; matches of other findings count as none."""
        findings, match = self.findings_digest(), read_match(self.storage)
        matches: dict[int, list[MatchRow]] = {}
        if stale_match(match, findings):
            match = None
        table = matches_table(self.storage) if match is not None else None
        for row in table.to_pylist() if table is not None else []:
            matches.setdefault(int(row["prompt_id"]), []).append(row)
        return RunState(self.storage, self.digest, findings, match, matches, self._read_rows)

    def stale(self) -> list[Stale]:
        """Return the derived files that do not fit the run as it is now."""
        return find_stale(self.state()) if has_derived_files(self.storage) else []

    def _read_rows(self, prompt_ids: Collection[int]) -> dict[int, FindingRow]:
        """Return the rows of these prompts, without their pairs."""
        rows = self.iter_findings([name for name in FINDINGS.names if name != "pairs"])
        return {row["prompt_id"]: row for row in rows if row["prompt_id"] in prompt_ids}

    def require_complete(self, what: str) -> None:
        """Raise RunError unless every shard is done; ``what`` is the command that needs them."""
        left = len(self.pending())
        if left:
            raise RunError(
                f"{what} needs a finished run, but {left} of {len(self.shards())} shards of {self.place} are missing: "
                "give the same memcore command again, it resumes where it stopped"
            )
