"""What a run's files hold, for comparing runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from memcore.audit import audit
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.system import atomic_files
from tests.support.synthetic import PROMPTS, SyntheticSampler

GENERATIONS = 40


def content(path: Path) -> dict[str, str]:
    """Return all that must not depend on how the run was made: everything but times and locks."""
    found = {}
    for kind in ("findings", "quarantine", "images"):
        for file in sorted((path / kind).rglob("*")):
            if file.is_file() and not file.name.startswith(atomic_files.TEMPORARY):
                found[str(file.relative_to(path))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def config(**changes: object) -> Config:
    options = {
        "source": "custom",
        "generations": GENERATIONS,
        "batch_size": 16,
        "shard_prompts": 2,
        **changes,
    }
    return Config(**options)  # type: ignore[arg-type]


def run(
    path: Path,
    sampler: SyntheticSampler | None = None,
    part: tuple[int, int] | None = None,
    **changes: object,
) -> RunFolder:
    return audit(
        path, config(**changes), sampler=sampler or SyntheticSampler(), prompts=PROMPTS, part=part, quiet=True
    )


def findings_bytes(folder: RunFolder) -> bytes:
    """Return all findings files, concatenated in order of their prompts."""
    paths = sorted((folder.path / "findings").glob("shard-*.parquet"))
    assert len(paths) == len(folder.shards())
    return b"".join(p.read_bytes() for p in paths)


def image_digest(folder: RunFolder) -> str:
    digest = hashlib.sha256()
    for path in sorted((folder.path / "images").rglob("*.png")):
        digest.update(str(path.relative_to(folder.path)).encode() + path.read_bytes())
    return digest.hexdigest()
