"""The commands that write, each with all that it needs, for ending them at any moment and comparing what they leave."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np

from memcore.audit import audit
from memcore.index import build_index, open_source
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.study.synthetic import prompts
from tests.support import index_sets
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_stored, write_training_set

#: What of a run's files says when and by whom it was made: everything else is the same bytes.
TIMES = {"run.toml": ("created",), "manifest": ("started", "finished", "writer", "seconds")}
SAMPLER = "memcore.study.synthetic:SyntheticSampler"
#: What each command writes, in the workshop's folder.
OUTPUTS = {
    "audit": "audited",
    "filter": "filtered",
    "index": "index",
    "match": "run",
    "match --index": "run",
    "prompts": "prompts.parquet",
    "evaluate": "matched",
    "report": "matched",
}


class Workshop:
    """A folder with a training set, its index, generations, a list of prompts, a finished run, and the same run matched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "prompts.txt").write_text(
            "".join(f"{p}\n" for p in prompts(60, 6, negatives=7, kinds=["memorised", "hubbed"]))
        )
        self.train = write_training_set(folder)
        write_stored(folder / "images", 48, PROMPTS)
        images = index_sets.pictures(240, 16)
        images[200:] = images[:40]  # copies, for memcore prompts
        for part in range(3):
            index_sets.write_tar(
                folder / "tars" / f"{part}.tar", images[part * 80 : part * 80 + 80], part * 80
            )
        np.save(folder / "both.npy", np.concatenate([np.load(self.train), images]))
        build_index(folder / "captioned", open_source(folder / "tars"), shard_images=64)
        build_index(folder / "indexed", open_source(folder / "both.npy"), shard_images=64)
        config = Config(source="custom", generations=40, batch_size=16, shard_prompts=2)
        base = folder / "base"
        audit(base / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
        shutil.copytree(base / "run", base / "matched")
        match_run(base / "matched", self.train)

    def words(self, command: str) -> list[str]:
        """Return the command's words."""
        place = self.folder
        few = ["--threads", "1", "--quiet"]
        words = {
            "audit": [
                *("--sampler", SAMPLER, "--prompts", place / "prompts.txt", "--generations", 64),
                *("--batch-size", 32, "--shard-prompts", 2, "--workers", 1, *few),
            ],
            "filter": ["--images", place / "images", "--shard-prompts", 1, "--workers", 1, *few],
            "index": ["--source", place / "tars", "--shard-images", 16, *few],
            "match": ["--training", self.train, "--threads", 1],
            "match --index": ["--index", place / "indexed", "--source", place / "both.npy", "--threads", 1],
            "prompts": ["--index", place / "captioned", "--source", place / "tars", "--threads", 1],
            "evaluate": ["--truth", place / "truth.json"],
            "report": [],
        }[command]
        return [command.partition(" ")[0], str(place / OUTPUTS[command]), *map(str, words)]

    def output(self, command: str) -> Path:
        """Return the folder or file that the command writes."""
        return self.folder / OUTPUTS[command]

    def reset(self, command: str) -> None:
        """Put what the command writes into the state before it."""
        output = self.output(command)
        if output.is_dir():
            shutil.rmtree(output)
        else:
            output.unlink(missing_ok=True)
        base = self.folder / "base" / output.name
        if base.exists():
            shutil.copytree(base, output)

    def written(self, command: str) -> dict[str, str]:
        """Return the digests of all that is there after the command, and of what a killed writer left beside it."""
        output = self.output(command)
        if output.is_dir():
            return digests(output)
        beside = [p for p in output.parent.iterdir() if output.name in p.name]
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in beside}


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a folder but its locks; times and writers are left out of what is digested."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".lock"):
            found[name] = hashlib.sha256(_without_times(name, path.read_bytes())).hexdigest()
    return found


def _without_times(name: str, data: bytes) -> bytes:
    """Return a file's content without its times, and without the seal that covers them."""
    folder = name.partition("/")[0]
    if folder not in TIMES:
        return data
    content = tomllib.loads(data.decode()) if name.endswith(".toml") else json.loads(data)
    del content["seal"]
    about = content["run"] if name == "run.toml" else content
    for field in TIMES[folder]:
        del about[field]
    return json.dumps(content, sort_keys=True).encode()
