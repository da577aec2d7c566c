"""The run folder: what is written where, and how it is read back. docs/formats.md describes it."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, MissingExtraError, RunError
from memcore.runs.config import Config, difference, from_mapping
from memcore.runs.prompts import Prompts, count_and_digest, prompts_parquet
from memcore.runs.reading import (
    FORMAT,
    findings_table,
    matches_table,
    quarantine_table,
    read_manifest,
    read_meta,
)
from memcore.runs.rows import FindingRow, ManifestRecord, MatchRow, QuarantineRow
from memcore.runs.schema import (
    FINDINGS,
    MATCHES,
    QUARANTINE,
    parquet_bytes,
    png_bytes,
    read_parquet,
    rows_of_table,
    table_of_rows,
)
from memcore.storage.base import LocalStorage, Storage, check_startable, open_storage

try:
    import pyarrow as pa
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

__all__ = ["MATCHES", "RunFolder", "Shard", "ShardRecord", "check_startable", "parquet_bytes", "png_bytes"]

#: Shards of a run whose configuration leaves their size open: enough of them to share out, and few enough files.
SHARDS_WANTED = 64
LARGEST_SHARD = 1000


@dataclasses.dataclass(frozen=True)
class Shard:
    """The prompts that one worker does at a time; its id names its files."""

    id: str
    prompt_ids: range


@dataclasses.dataclass
class ShardRecord:
    """What is known of a shard so far: rows of its finished prompts, what was put aside, and seconds a stage."""

    rows: list[FindingRow] = dataclasses.field(default_factory=list)
    quarantine: list[QuarantineRow] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    started: float = dataclasses.field(default_factory=time.time)

    @property
    def generated(self) -> int:
        return sum(int(row["generated"]) for row in self.rows)


def shard_size(config: Config, prompts: int) -> int:
    """Prompts a shard: what the configuration says, or what suits the number of prompts.

    >>> config = Config(source="custom")
    >>> [shard_size(config, n) for n in (7, 1_000, 350_000)]
    [1, 16, 1000]
    """
    return config.shard_prompts or max(1, min(LARGEST_SHARD, -(-prompts // SHARDS_WANTED)))


class RunFolder:
    """One audit's folder, opened. ``create`` starts it or goes on with it; ``open`` only reads."""

    def __init__(
        self, storage: Storage, config: Config, digest: str, meta: Mapping[str, Any], prompts: Prompts
    ) -> None:
        self.storage = storage
        self.config = config
        self.digest = digest
        self.meta = meta
        self.prompts = prompts
        self._shards: list[Shard] = []

    @property
    def place(self) -> str:
        """The folder's path or URL, as text."""
        return self.storage.place

    @property
    def path(self) -> Path:
        """The folder on this machine; RunError for a run that stands in an object store."""
        if isinstance(self.storage, LocalStorage):
            return self.storage.path
        raise RunError(
            f"{self.place} is no folder of this machine: copy it first, with memcore fetch {self.place} FOLDER"
        )

    @classmethod
    def create(
        cls,
        place: str | Path,
        config: Config,
        fingerprint: str,
        describe: Mapping[str, str],
        prompts: Iterable[str],
    ) -> RunFolder:
        """Starts the run in ``place``, or goes on with the one that stands there if its configuration is the same.

        Raises ConfigError with the lines that differ, and RunError if ``place`` holds something else.
        """
        storage = open_storage(place)
        count, prompts_digest = count_and_digest(prompts)
        if not count:
            raise ConfigError("there is not a single prompt")
        digest = config.digest(fingerprint, prompts_digest)
        if not storage.exists("run.toml"):
            check_startable(storage)
            meta = _meta(config, digest, fingerprint, describe, count, prompts_digest)
            storage.write("prompts.parquet", prompts_parquet(prompts))
            storage.write_new("run.toml", _toml_bytes(meta))  # another launcher may have been faster
        run = cls.open(place)
        found = run.meta["run"]["format"]
        if found != FORMAT:
            raise RunError(
                f"{place} was made by memcore {run.meta['run'].get('memcore', '?')} (run format {found}); it can be "
                "read, but only that version goes on with it. Finish it there, or start anew in another folder"
            )
        if run.digest != digest:
            raise ConfigError(_refusal(run, config, describe, prompts_digest))
        return run

    @classmethod
    def open(cls, place: str | Path) -> RunFolder:
        """Reads ``run.toml``; RunError if ``place`` is no run folder or of a format that this memcore does not read."""
        storage = open_storage(place)
        meta = read_meta(storage)
        try:
            config = from_mapping(meta["config"])
            prompts = Prompts(
                lambda: storage.open("prompts.parquet"), int(meta["prompts"]["count"]), storage.place
            )
            return cls(storage, config, str(meta["run"]["digest"]), meta, prompts)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{place}/run.toml is damaged: {type(error).__name__} {error}") from None

    def shards(self) -> list[Shard]:
        """All shards, in order of their prompts."""
        if not self._shards:
            count = len(self.prompts)
            step = shard_size(self.config, count)
            groups = [range(i, min(i + step, count)) for i in range(0, count, step)]
            self._shards = [Shard(self._shard_id(ids), ids) for ids in groups]
        return self._shards

    def _shard_id(self, prompt_ids: range) -> str:
        name = hashlib.sha256(f"{self.digest}:{','.join(map(str, prompt_ids))}".encode()).hexdigest()
        return f"{prompt_ids[0]:07d}-{name[:12]}"

    def is_done(self, shard: Shard) -> bool:
        return self.storage.exists(_manifest(shard))

    def done(self) -> list[Shard]:
        """The shards with a manifest, in order of their prompts, found by one listing."""
        names = set(self.storage.names("manifest"))
        return [shard for shard in self.shards() if _manifest(shard).partition("/")[2] in names]

    def pending(self) -> list[Shard]:
        names = set(self.storage.names("manifest"))
        return [shard for shard in self.shards() if _manifest(shard).partition("/")[2] not in names]

    def image_path(self, prompt_id: int, seed: int) -> Path:
        return self.path / _image(prompt_id, seed)

    def write_shard(self, shard: Shard, record: ShardRecord, *, given_up: bool = False) -> None:
        """Findings, quarantine, then the manifest: only with the last is the shard done."""
        data = parquet_bytes(table_of_rows(record.rows))
        self.storage.write(f"findings/shard-{shard.id}.parquet", data)
        if record.quarantine:
            broken = parquet_bytes(pa.Table.from_pylist(record.quarantine, schema=QUARANTINE))
            self.storage.write(f"quarantine/shard-{shard.id}.parquet", broken)
        manifest: ManifestRecord = {
            "shard": shard.id,
            "first_prompt": shard.prompt_ids[0],
            "prompts": len(shard.prompt_ids),
            "generated": record.generated,
            "findings": sum(row["status"] == "finding" for row in record.rows),
            "failed": sum(row["status"] == "failed" for row in record.rows),
            "given_up": given_up,
            "started": round(record.started, 3),
            "finished": round(time.time(), 3),
            "writer": f"{socket.gethostname()}:{os.getpid()}",
            "seconds": {name: round(value, 4) for name, value in record.seconds.items()},
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        self.storage.write(_manifest(shard), json.dumps(manifest, indent=1).encode())
        self.storage.remove(_partial(shard))

    def given_up(self) -> list[Shard]:
        """Shards that were put aside because they failed too often."""
        return [shard for shard in self.done() if self._manifest_of(shard).get("given_up")]

    def forget(self, shard: Shard) -> None:
        """The shard is no longer done, so that it is done again; first of all its manifest goes."""
        self.storage.remove(_manifest(shard))
        self.storage.remove(f"quarantine/shard-{shard.id}.parquet")

    def write_partial(self, shard: Shard, record: ShardRecord) -> None:
        """A checkpoint of an unfinished shard, which whoever does it next goes on from."""
        about = {"quarantine": record.quarantine, "seconds": record.seconds, "started": record.started}
        table = table_of_rows(record.rows)
        table = table.replace_schema_metadata({"memcore": json.dumps(about)})
        self.storage.write(_partial(shard), parquet_bytes(table))

    def read_partial(self, shard: Shard) -> ShardRecord:
        """The shard's checkpoint; an empty record if there is none, or one that cannot be used."""
        try:
            table = read_parquet(self.storage.read(_partial(shard)))
            about = json.loads(table.schema.metadata[b"memcore"])
            if table.schema.names != FINDINGS.names:
                return ShardRecord()
            rows = rows_of_table(table)
            if not all(int(row["prompt_id"]) in shard.prompt_ids for row in rows):
                return ShardRecord()
            return ShardRecord(
                rows, list(about["quarantine"]), dict(about["seconds"]), float(about["started"])
            )
        except (FileNotFoundError, pa.ArrowException, KeyError, ValueError, TypeError):
            return ShardRecord()

    def tidy(self) -> None:
        """Removes what killed workers left, and checkpoints that a second launcher wrote of shards that are done."""
        self.storage.clean()
        done = {_partial(shard) for shard in self.done()}
        for name in self.storage.names("partial"):
            if f"partial/{name}" in done:
                self.storage.remove(f"partial/{name}")

    def write_image(self, prompt_id: int, seed: int, pixels: NDArray[np.uint8]) -> None:
        self.storage.write(_image(prompt_id, seed), png_bytes(pixels))

    def iter_findings(self, columns: Sequence[str] | None = None) -> Iterator[FindingRow]:
        """Rows of all finished shards, by prompt id, a shard at a time; of ``columns`` alone if they are given."""
        for shard in self.done():
            table = findings_table(self.storage, f"shard-{shard.id}", columns)
            # a row may hold 100,000 pairs, each an object of its own
            for batch in table.to_batches(8 if "pairs" in table.schema.names else 1000):
                yield from batch.to_pylist()

    def findings(self) -> list[FindingRow]:
        """The same as a list: for runs that fit."""
        return list(self.iter_findings())

    def iter_quarantine(self) -> Iterator[QuarantineRow]:
        """Entries of all finished shards, a shard at a time."""
        names = set(self.storage.names("quarantine"))
        for shard in self.done():
            if f"shard-{shard.id}.parquet" in names:
                yield from quarantine_table(self.storage, f"shard-{shard.id}").to_pylist()

    def quarantine(self) -> list[QuarantineRow]:
        return list(self.iter_quarantine())

    def manifests(self) -> list[ManifestRecord]:
        return [self._manifest_of(shard) for shard in self.done()]

    def _manifest_of(self, shard: Shard) -> ManifestRecord:
        return read_manifest(self.storage, f"shard-{shard.id}")

    def matches(self) -> list[MatchRow] | None:
        """Rows of matches.parquet, or None if the run was not matched yet."""
        table = matches_table(self.storage)
        return None if table is None else list(table.to_pylist())

    def require_complete(self, what: str) -> None:
        left = len(self.pending())
        if left:
            raise RunError(
                f"{what} needs a finished run, but {left} of {len(self.shards())} shards of {self.place} are missing: "
                "give the same memcore command again, it goes on where it stopped"
            )


def _manifest(shard: Shard) -> str:
    return f"manifest/shard-{shard.id}.json"


def _partial(shard: Shard) -> str:
    return f"partial/shard-{shard.id}.parquet"


def _image(prompt_id: int, seed: int) -> str:
    return f"images/{prompt_id:06d}/{seed}.png"


def _meta(
    config: Config,
    digest: str,
    fingerprint: str,
    describe: Mapping[str, str],
    count: int,
    prompts_digest: str,
) -> dict[str, Any]:
    import memcore

    return {
        "run": {
            "format": FORMAT,
            "digest": digest,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "memcore": memcore.__version__,
            "seed": config.seed,
        },
        "config": config.as_dict(),
        "graph": {
            "threshold": config.threshold,
            "grid": list(config.grid),
            "min_clique": config.min_clique,
        },
        "budget": config.describe_budget(),
        "screen": config.describe_screen(),
        "prompts": {"count": count, "source": config.prompts or config.images, "digest": prompts_digest},
        "sampler": {"kind": config.source, "fingerprint": fingerprint, "describe": dict(describe)},
    }


def _toml_bytes(meta: Mapping[str, Any]) -> bytes:
    try:
        import tomli_w
    except ImportError:
        raise MissingExtraError("tomli-w", "audit", "A run folder") from None
    return tomli_w.dumps(meta).encode()


def _refusal(old: RunFolder, config: Config, describe: Mapping[str, str], prompts_digest: str) -> str:
    was = {**old.meta["sampler"]["describe"], **old.config.as_dict()}
    now = {**describe, **config.as_dict()}
    for name in ("model", "images", "prompts", "sampler"):
        was.pop(name, None), now.pop(name, None)
    lines = difference(was, now)
    if old.meta["prompts"]["digest"] != prompts_digest:
        lines.append("prompts: another list of prompts")
    listing = "\n  ".join(lines) or "the sampler's fingerprint"
    return (
        f"{old.place} was started with another configuration and stays as it is; what differs (old -> new):\n  {listing}\n"
        "Give the old values to go on, or another folder to start anew."
    )
