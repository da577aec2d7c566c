"""The run folder: what is written where, in which schema, and how it is read back. docs/formats.md describes it."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import io
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, MissingExtraError, RunError
from memcore.jobs.config import Config, difference, from_mapping
from memcore.jobs.files import write_atomic

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

FORMAT = 1

_CLIQUE = pa.struct(
    [
        ("seeds", pa.list_(pa.int64())),
        ("mean_distance", pa.float64()),
        ("medoid_seed", pa.int64()),
        ("proven", pa.bool_()),
        ("upper", pa.int32()),
    ]
)
FINDINGS = pa.schema(
    [
        ("prompt_id", pa.int64()),
        ("prompt", pa.string()),
        ("status", pa.string()),
        ("generated", pa.int32()),
        ("excluded", pa.int32()),
        ("edges", pa.int64()),
        ("size", pa.int32()),
        ("mean_distance", pa.float64()),
        ("medoid_seed", pa.int64()),
        ("seeds", pa.list_(pa.int64())),
        ("proven", pa.bool_()),
        ("upper", pa.int32()),
        ("cliques", pa.list_(_CLIQUE)),
        ("stop", pa.string()),
        ("noise_magnitude", pa.float64()),
        ("one_step", pa.float64()),
        ("tile_bytes", pa.int64()),
        ("pairs", pa.list_(pa.struct([("i", pa.int32()), ("j", pa.int32()), ("ssd", pa.uint64())]))),
        ("reason", pa.string()),
    ]
)
QUARANTINE = pa.schema(
    [("prompt_id", pa.int64()), ("source", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)
PROMPTS = pa.schema([("prompt_id", pa.int64()), ("prompt", pa.string())])
MATCHES = pa.schema(
    [
        ("prompt_id", pa.int64()),
        ("clique", pa.int32()),
        ("size", pa.int32()),
        ("mean_distance", pa.float64()),
        ("medoid_seed", pa.int64()),
        ("training_index", pa.int64()),
        ("training_name", pa.string()),
        ("l2", pa.float64()),
        ("tiled_l2", pa.float64()),
        ("extracted", pa.bool_()),
        ("copies", pa.int32()),
        ("eidetic", pa.int32()),
        (
            "neighbors",
            pa.list_(pa.struct([("index", pa.int64()), ("name", pa.string()), ("l2", pa.float64())])),
        ),
        ("adaptive", pa.float64()),
        ("members_extracted", pa.int32()),
        ("closest_seed", pa.int64()),
        ("closest_index", pa.int64()),
        ("closest_name", pa.string()),
        ("closest_distance", pa.float64()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Shard:
    """The prompts that one worker does at a time; its id names its files."""

    id: str
    prompt_ids: tuple[int, ...]


class RunFolder:
    """One audit's folder, opened. ``create`` starts it or goes on with it; ``open`` only reads."""

    def __init__(
        self, path: Path, config: Config, digest: str, meta: Mapping[str, Any], prompts: list[str]
    ) -> None:
        self.path = path
        self.config = config
        self.digest = digest
        self.meta = meta
        self.prompts = prompts

    @classmethod
    def create(
        cls, path: Path, config: Config, fingerprint: str, describe: Mapping[str, str], prompts: Sequence[str]
    ) -> RunFolder:
        """Starts the run in ``path``, or goes on with the one that stands there if its configuration is the same.

        Raises ConfigError with the lines that differ, and RunError if ``path`` holds something else.
        """
        if not prompts:
            raise ConfigError("there is not a single prompt")
        prompts_digest = hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
        digest = config.digest(fingerprint, prompts_digest)
        if (path / "run.toml").exists():
            old = cls.open(path)
            if old.digest != digest:
                raise ConfigError(_refusal(path, old, config, describe, prompts_digest))
            return old
        check_startable(path)
        import memcore

        meta = {
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
            "prompts": {
                "count": len(prompts),
                "source": config.prompts or config.images,
                "digest": prompts_digest,
            },
            "sampler": {"kind": config.source, "fingerprint": fingerprint, "describe": dict(describe)},
        }
        table = pa.table({"prompt_id": range(len(prompts)), "prompt": list(prompts)}, schema=PROMPTS)
        write_atomic(path / "prompts.parquet", parquet_bytes(table))
        write_atomic(path / "run.toml", _toml_bytes(meta))
        return cls(path, config, digest, meta, list(prompts))

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Reads ``run.toml`` and the prompts; RunError if ``path`` is no run folder or of another format."""
        file = path / "run.toml"
        try:
            meta = tomllib.loads(file.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"{path} is no run folder: it holds no run.toml (memcore audit makes one)"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{file} is damaged: {error}") from None
        found = meta.get("run", {}).get("format")
        if found != FORMAT:
            raise RunError(f"{path} has the run format {found!r}, this memcore reads format {FORMAT}")
        config = from_mapping(meta["config"])
        prompts = pq.read_table(path / "prompts.parquet").column("prompt").to_pylist()
        return cls(path, config, str(meta["run"]["digest"]), meta, prompts)

    def shards(self) -> list[Shard]:
        """All shards, in order of their prompts."""
        step = self.config.shard_prompts
        groups = [
            tuple(range(i, min(i + step, len(self.prompts)))) for i in range(0, len(self.prompts), step)
        ]
        return [Shard(self._shard_id(ids), ids) for ids in groups]

    def _shard_id(self, prompt_ids: tuple[int, ...]) -> str:
        name = hashlib.sha256(f"{self.digest}:{','.join(map(str, prompt_ids))}".encode()).hexdigest()
        return f"{prompt_ids[0]:07d}-{name[:12]}"

    def is_done(self, shard: Shard) -> bool:
        return self.manifest_path(shard).exists()

    def pending(self) -> list[Shard]:
        return [shard for shard in self.shards() if not self.is_done(shard)]

    def manifest_path(self, shard: Shard) -> Path:
        return self.path / "manifest" / f"shard-{shard.id}.json"

    def image_path(self, prompt_id: int, seed: int) -> Path:
        return self.path / "images" / f"{prompt_id:06d}" / f"{seed}.png"

    def write_shard(
        self,
        shard: Shard,
        findings: Sequence[Mapping[str, Any]],
        quarantine: Sequence[Mapping[str, Any]],
        seconds: Mapping[str, float],
    ) -> None:
        """Findings, quarantine, then the manifest: only with the last is the shard done."""
        data = parquet_bytes(pa.Table.from_pylist(list(findings), schema=FINDINGS))
        write_atomic(self.path / "findings" / f"shard-{shard.id}.parquet", data)
        broken = self.path / "quarantine" / f"shard-{shard.id}.parquet"
        if quarantine:
            write_atomic(broken, parquet_bytes(pa.Table.from_pylist(list(quarantine), schema=QUARANTINE)))
        manifest = {
            "shard": shard.id,
            "prompt_ids": list(shard.prompt_ids),
            "generated": sum(int(row["generated"]) for row in findings),
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        write_atomic(self.manifest_path(shard), json.dumps(manifest, indent=1).encode())

    def write_image(self, prompt_id: int, seed: int, pixels: NDArray[np.uint8]) -> None:
        write_atomic(self.image_path(prompt_id, seed), png_bytes(pixels))

    def findings(self) -> list[dict[str, Any]]:
        """Rows of all finished shards, by prompt id."""
        rows = [
            row for shard in self.shards() if self.is_done(shard) for row in self._read("findings", shard)
        ]
        return sorted(rows, key=lambda row: int(row["prompt_id"]))

    def quarantine(self) -> list[dict[str, Any]]:
        return [
            row for shard in self.shards() if self.is_done(shard) for row in self._read("quarantine", shard)
        ]

    def manifests(self) -> list[dict[str, Any]]:
        paths = [self.manifest_path(shard) for shard in self.shards() if self.is_done(shard)]
        return [json.loads(path.read_text("utf-8")) for path in paths]

    def _read(self, kind: str, shard: Shard) -> Iterator[dict[str, Any]]:
        path = self.path / kind / f"shard-{shard.id}.parquet"
        if kind == "quarantine" and not path.exists():
            return
        yield from pq.read_table(path).to_pylist()

    def matches(self) -> list[dict[str, Any]] | None:
        """Rows of matches.parquet, or None if the run was not matched yet."""
        path = self.path / "matches.parquet"
        return pq.read_table(path).to_pylist() if path.exists() else None

    def require_complete(self, what: str) -> None:
        left = len(self.pending())
        if left:
            raise RunError(
                f"{what} needs a finished run, but {left} of {len(self.shards())} shards of {self.path} are missing: "
                "give the same memcore command again, it goes on where it stopped"
            )


def check_startable(path: Path) -> None:
    """Raises RunError unless a run may be started or gone on with in ``path``: nothing foreign is ever written into."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file: choose a folder for the run")
    if not path.exists() or (path / "run.toml").exists():
        return
    ours = {"prompts.parquet"}  # a run that was killed before its run.toml stood
    if any(p.name not in ours and not p.name.startswith(".") for p in path.iterdir()):
        raise RunError(f"{path} is not empty and holds no run.toml: choose another folder for the run")


def parquet_bytes(table: pa.Table) -> bytes:
    """The same table gives the same bytes: no times, no compression that depends on the build."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, C) uint8 as PNG, lossless."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(sink, "png", compress_level=1)
    return sink.getvalue()


def _toml_bytes(meta: Mapping[str, Any]) -> bytes:
    try:
        import tomli_w
    except ImportError:
        raise MissingExtraError("tomli-w", "audit", "A run folder") from None
    return tomli_w.dumps(meta).encode()


def _refusal(
    path: Path, old: RunFolder, config: Config, describe: Mapping[str, str], prompts_digest: str
) -> str:
    was = {**old.meta["sampler"]["describe"], **old.config.as_dict()}
    now = {**describe, **config.as_dict()}
    for name in ("model", "images", "prompts"):
        was.pop(name, None), now.pop(name, None)
    lines = difference(was, now)
    if old.meta["prompts"]["digest"] != prompts_digest:
        lines.append("prompts: another list of prompts")
    listing = "\n  ".join(lines) or "the sampler's fingerprint"
    return (
        f"{path} was started with another configuration and stays as it is; what differs (old -> new):\n  {listing}\n"
        "Give the old values to go on, or another folder to start anew."
    )
