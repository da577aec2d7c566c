"""A small run folder written by hand: synthetic pictures, real distances, and the formats of docs/formats.md."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from memcore.evaluation.score import evaluate
from memcore.evaluation.truth import TruthEntry
from memcore.report.run import read_run
from memcore.runs.rows import CliqueRow, FindingRow, MatchRow, QuarantineRow
from memcore.storage.digests import FileDigest, digest_bytes
from tests.support.drawn import NOUNS, Pixels, l2, near_copies, picture
from tests.support.sealing import seal_toml, write_evaluation, write_sealed

DELTA = 0.15
GRID = 4
#: (kind, copies in the training set, whether it must be found, prompts of that kind)
KINDS = (("dup200", 200, True, 8), ("dup50", 50, True, 8), ("dup10", 10, None, 6), ("once", 1, False, 28))

CLIQUE = pa.struct(
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
        ("medoid_image", pa.string()),
        ("seeds", pa.list_(pa.int64())),
        ("proven", pa.bool_()),
        ("upper", pa.int32()),
        ("largest", pa.int32()),
        ("cliques", pa.list_(CLIQUE)),
        ("stop", pa.string()),
        ("noise_magnitude", pa.float64()),
        ("one_step", pa.float64()),
        ("tile_bytes", pa.int64()),
        ("pairs", pa.list_(pa.struct([("i", pa.int32()), ("j", pa.int32()), ("ssd", pa.uint64())]))),
        ("reason", pa.string()),
        (
            "images",
            pa.list_(pa.struct([("seed", pa.int64()), ("bytes", pa.int64()), ("sha256", pa.string())])),
        ),
    ]
)
QUARANTINE = pa.schema(
    [("prompt_id", pa.int64()), ("source", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)
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
        ("closest_image", pa.string()),
        ("closest_index", pa.int64()),
        ("closest_name", pa.string()),
        ("closest_distance", pa.float64()),
    ]
)


def described(images: Sequence[Pixels], seeds: Sequence[int]) -> CliqueRow:
    """Return a clique's record: members, mean distance, medoid."""
    side = images[0].shape[0] // GRID
    stack = np.stack(images).astype(np.float32)
    sums = []
    for image in stack:
        square = ((stack - image) ** 2).reshape(len(stack), GRID, side, GRID, side, -1)
        sums.append(float(np.sqrt(square.mean(axis=(2, 4, 5)).max(axis=(1, 2))).sum()) / 255)
    medoid = min(range(len(sums)), key=lambda i: (sums[i], i))
    pairs = len(images) * (len(images) - 1)
    return {
        "seeds": list(seeds),
        "mean_distance": sum(sums) / pairs,
        "medoid_seed": seeds[medoid],
        "proven": True,
        "upper": len(seeds),
    }


def finding_row(prompt_id: int, prompt: str, cliques: list[CliqueRow], **other: Any) -> FindingRow:
    """Return a row of findings/; without cliques the prompt found nothing."""
    largest = cliques[0] if cliques else None
    row = {
        "prompt_id": prompt_id,
        "prompt": prompt,
        "status": "finding" if largest else "none",
        "generated": 64,
        "excluded": 0,
        "edges": sum(len(c["seeds"]) ** 2 // 2 for c in cliques),
        "size": len(largest["seeds"]) if largest else 0,
        "mean_distance": largest["mean_distance"] if largest else None,
        "medoid_seed": largest["medoid_seed"] if largest else None,
        "medoid_image": f"images/{prompt_id:06d}/{largest['medoid_seed']}.png" if largest else None,
        "seeds": largest["seeds"] if largest else [],
        "proven": largest["proven"] if largest else True,
        "upper": largest["upper"] if largest else 0,
        "largest": len(largest["seeds"]) if largest else 0,
        "cliques": cliques,
        "stop": "all",
        "noise_magnitude": None,
        "one_step": None,
        "tile_bytes": None,
        "pairs": None,
        "reason": None,
        "images": [],
        **other,
    }
    return cast(FindingRow, row)


class RunWriter:
    """Collect rows, then write the folder of a run with them."""

    def __init__(
        self, path: Path, *, guidance: float = 1.0, created: str = "2026-01-05T09:30:00+00:00"
    ) -> None:
        self.path = path
        self.guidance = guidance
        self.created = created
        self.rows: list[FindingRow] = []
        self.matches: list[MatchRow] = []
        self.quarantine: list[QuarantineRow] = []
        self.images: dict[int, dict[int, FileDigest]] = {}
        self.files: dict[str, FileDigest] = {}

    def save_image(self, prompt_id: int, seed: int, pixels: Pixels) -> None:
        path = self.path / "images" / f"{prompt_id:06d}" / f"{seed}.png"
        self.images.setdefault(prompt_id, {})[seed] = _save(path, pixels)

    def save_training(self, index: int, pixels: Pixels) -> None:
        name = f"training/{index:08d}.png"
        self.files[name] = _save(self.path / name, pixels)

    def add_clique(self, prompt_id: int, images: Sequence[Pixels]) -> CliqueRow:
        rng = np.random.default_rng(7000 + prompt_id)
        seeds = sorted(int(s) for s in rng.integers(0, 2**62, len(images)))
        for seed, image in zip(seeds, images, strict=True):
            self.save_image(prompt_id, seed, image)
        return described(images, seeds)

    def add_match(
        self,
        prompt_id: int,
        clique: CliqueRow,
        images: Sequence[Pixels],
        index: int,
        training: Pixels,
        eidetic: int,
    ) -> None:
        medoid = images[clique["seeds"].index(clique["medoid_seed"])]
        self.save_training(index, training)
        plain, tiled = l2(medoid, training, 1), l2(medoid, training, GRID)
        row = {
            "prompt_id": prompt_id,
            "clique": 0,
            "size": len(images),
            "mean_distance": clique["mean_distance"],
            "medoid_seed": clique["medoid_seed"],
            "training_index": index,
            "training_name": f"train/{index:05d}.png",
            "l2": plain,
            "tiled_l2": tiled,
            "extracted": tiled <= DELTA,
            "copies": sum(l2(image, training, GRID) <= DELTA for image in images),
            "eidetic": eidetic,
            "neighbors": [
                {
                    "index": index + 40 * i,
                    "name": f"train/{index + 40 * i:05d}.png",
                    "l2": plain + 0.11 * i,
                }
                for i in range(4)
            ],
            "members_extracted": sum(l2(image, training, GRID) <= DELTA for image in images),
        }
        self.matches.append(cast(MatchRow, row))  # without the columns that format 2 came to have

    def write(self, *, matched: bool = True, count: int | None = None) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        rows = sorted(self.rows, key=lambda row: int(row["prompt_id"]))
        self._settings(len(rows) if count is None else count)
        half = (len(rows) + 1) // 2
        for row in rows:
            written = self.images.get(int(row["prompt_id"]), {})
            row["images"] = [
                {"seed": seed, "bytes": digest["bytes"], "sha256": digest["sha256"]}
                for seed, digest in written.items()
            ]
        for number, part in enumerate((rows[:half], rows[half:])):
            self._shard(f"{number:07d}-{'ab' * 6}", part, self.quarantine if number == 0 else [])
        if matched:
            self._match()

    def _match(self) -> None:
        name = "matches.parquet"
        pq.write_table(pa.Table.from_pylist(self.matches, schema=MATCHES), self.path / name)
        state = read_run(self.path).state
        info = {
            "format": 3,
            "training": "/data/planted/train.npz",
            "count": 464,
            "delta": DELTA,
            "distance": "tiled_l2",
            "made_from": {"run": state.digest, "findings": state.findings},
            "files": {name: digest_bytes((self.path / name).read_bytes()), **self.files},
        }
        write_sealed(self.path / "match.json", info)

    def _shard(self, name: str, rows: list[FindingRow], quarantine: list[QuarantineRow]) -> None:
        if not rows:
            return
        for folder in ("findings", "quarantine", "manifest"):
            (self.path / folder).mkdir(exist_ok=True)
        tables = {f"findings/shard-{name}.parquet": pa.Table.from_pylist(rows, schema=FINDINGS)}
        if quarantine:
            tables[f"quarantine/shard-{name}.parquet"] = pa.Table.from_pylist(quarantine, schema=QUARANTINE)
        for file, table in tables.items():
            pq.write_table(table, self.path / file)
        manifest = {
            "format": 3,
            "shard": name,
            "prompts": len(rows),
            "findings": sum(row["status"] == "finding" for row in rows),
            "failed": sum(row["status"] == "failed" for row in rows),
            "generated": sum(row["generated"] for row in rows),
            "seconds": {"sample": 61.5, "graph": 1.25, "clique": 0.2, "write": 2.05},
            "files": {file: digest_bytes((self.path / file).read_bytes()) for file in tables},
        }
        write_sealed(self.path / "manifest" / f"shard-{name}.json", manifest)

    def _settings(self, count: int) -> None:
        text = seal_toml(
            f"""[run]
format = 3
digest = "{hashlib.sha256(str(self.guidance).encode()).hexdigest()}"
created = "{self.created}"
memcore = "0.1.0"
seed = 20260105

[graph]
threshold = {DELTA}
grid = [{GRID}, {GRID}]
min_clique = 10

[budget]
generations = 64

[prompts]
count = {count}
source = "demo_data/prompts.txt"

[sampler]
kind = "diffusers"
fingerprint = "{hashlib.sha256(repr(self.guidance).encode()).hexdigest()}"

[sampler.describe]
pipeline = "StableDiffusionPipeline"
"call.guidance_scale" = "{self.guidance}"
"call.num_inference_steps" = "20"
dtype = "float32"
diffusers = "0.38.0"
torch = "2.9.1"
"""
        )
        (self.path / "run.toml").write_text(text, encoding="utf-8")


def write_run(
    path: Path, *, matched: bool = True, evaluated: bool = True, images: Pixels | None = None
) -> Path:
    """Write a run of 50 prompts: 8 planted 200 times, 8 planted 50 times, 6 planted 10 times, 28 once; one of these failed.

    17 prompts are extracted (one of those planted 50 times is missed, two of the ten-fold are found), one candidate
    repeats a picture that is in no training set. ``images`` replaces the synthetic training pictures.
    """
    run = RunWriter(path)
    truth: list[TruthEntry] = []
    kinds = [(kind, copies, expected) for kind, copies, expected, count in KINDS for _ in range(count)]
    for prompt_id, (kind, copies, expected) in enumerate(kinds):
        prompt = f"{NOUNS[prompt_id % len(NOUNS)]}{'' if prompt_id < len(NOUNS) else ' at night'}"
        truth.append(
            {
                "prompt": prompt,
                "kind": kind,
                "copies": copies,
                "expected": expected,
                "training_images": [prompt_id],
            }
        )
        size = _size(prompt_id, copies)
        excluded = 3 if prompt_id in (4, 41) else 0
        if prompt_id == 45:
            run.rows.append(
                finding_row(prompt_id, prompt, [], status="failed", stop=None, generated=0, reason="sampler")
            )
        elif size == 0:
            run.rows.append(finding_row(prompt_id, prompt, [], excluded=excluded))
        else:
            training = images[prompt_id] if images is not None else picture(prompt_id)
            original = picture(900, training.shape[0]) if prompt_id == 30 else training
            pictures = near_copies(original, size, 0.022 + 0.0016 * prompt_id, prompt_id)
            clique = run.add_clique(prompt_id, pictures)
            if prompt_id == 6:
                clique |= {"proven": False, "upper": size + 3}
            run.rows.append(finding_row(prompt_id, prompt, [clique], excluded=excluded))
            run.add_match(prompt_id, clique, pictures, prompt_id, training, max(1, copies))
    run.quarantine = [
        {
            "prompt_id": 45,
            "source": "tram",
            "reason": "sampler",
            "detail": "the pipeline raised OutOfMemoryError",
        },
        {"prompt_id": 12, "source": "12/a.png", "reason": "unreadable", "detail": "image file is truncated"},
        {
            "prompt_id": None,
            "source": "13/b.png",
            "reason": "unreadable",
            "detail": "cannot identify image file",
        },
    ]
    run.write(matched=matched)
    if evaluated:
        rows = sorted(run.rows, key=lambda row: int(row["prompt_id"]))
        result = evaluate(rows, run.matches if matched else None, truth)
        write_evaluation(path, result)
    return path


def _size(prompt_id: int, copies: int) -> int:
    """Return the members of the clique: more with more copies, 0 where nothing is found."""
    if copies == 200:
        return 52 - 3 * (prompt_id % 8)
    if copies == 50:
        return 0 if prompt_id == 15 else 34 - 3 * (prompt_id % 8)
    return {16: 12, 19: 10, 30: 11}.get(prompt_id, 0)


def write_guidance_run(path: Path, images: Pixels | None = None) -> Path:
    """Write a run at guidance 7.5: three prompts repeat a picture far from its training image, one copies it."""
    run = RunWriter(path, guidance=7.5)
    for prompt_id in range(6):
        noun = NOUNS[16 + prompt_id]
        if prompt_id in (4, 5):
            run.rows.append(finding_row(prompt_id, noun, []))
            continue
        index = 16 + prompt_id
        training = images[index] if images is not None else picture(index)
        washed = 127.5 + (training.astype(float) - 127.5) * (2.1 + 0.2 * prompt_id) + 18 * (prompt_id - 1)
        original = training if prompt_id == 3 else np.clip(washed, 0, 255).astype(np.uint8)
        pictures = near_copies(original, 15 + 5 * prompt_id, 0.03 + 0.005 * prompt_id, 50 + prompt_id)
        clique = run.add_clique(prompt_id, pictures)
        run.rows.append(finding_row(prompt_id, noun, [clique]))
        run.add_match(prompt_id, clique, pictures, index, training, 10)
    run.write()
    return path


def _save(path: Path, pixels: Pixels) -> FileDigest:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
    return digest_bytes(path.read_bytes())
