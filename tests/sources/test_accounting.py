"""Of everything that a command is pointed at: what is used and what is left out add up, whatever lies there.

``MEMCORE_ACCOUNTING`` is the number of random sets of each kind (default 20; ``make proof-accounting`` takes 400).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memcore.cli import main
from memcore.errors import ConfigError
from memcore.images import REASONS
from memcore.index import Index, build_index, open_source
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.coverage import Coverage, count_reasons, make_coverage
from memcore.sources.in_memory import read_training_set
from tests.support import odd_sets

EXAMPLES = int(os.environ.get("MEMCORE_ACCOUNTING", "20"))
pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="some of what is planted is a pipe")


def some(rng: np.random.Generator, kinds: dict[str, object]) -> list[str]:
    names = sorted(kinds)
    return [names[i] for i in rng.integers(0, len(names), int(rng.integers(0, 7)))]


WRITERS: dict[str, Callable[[Path, np.random.Generator], int]] = {
    "folder": lambda root, rng: odd_sets.write_folder(root, rng, some(rng, odd_sets.IN_FOLDERS)),
    "tars": lambda root, rng: odd_sets.write_tars(root, rng, some(rng, odd_sets.IN_TARS)),
    "parquet": odd_sets.write_parquet,
    "arrays": odd_sets.write_arrays,
    "generations": lambda root, rng: odd_sets.write_generations(root, rng, some(rng, odd_sets.IN_FOLDERS)),
}


def check(coverage: Coverage | None, count: int) -> None:
    assert coverage is not None
    assert coverage["pointed_at"] == count
    assert coverage["images"] + coverage["texts"] + sum(coverage["left_out"].values()) == count
    assert set(coverage["left_out"]) <= {*REASONS, "constant"}


def by_filter(root: Path) -> Coverage:
    """As a filter's run has it: images that are read, and those that are quarantined."""
    stored = StoredPrompts(root)
    used = 0
    left_out: Counter[str] = count_reasons(stored.left_out)
    for prompt in range(len(stored.prompts)):
        room = stored.count(prompt)
        for pixels, seeds, constant, broken in stored.read(prompt):
            assert len(seeds) == len(pixels) <= room
            used += len(pixels) - int(constant.sum())
            left_out["constant"] += int(constant.sum())
            left_out.update(count_reasons(broken))
    return make_coverage(stored.pointed_at(), used, stored.texts, left_out, str(root))


def by_index(root: Path, folder: Path, shard_images: int) -> Coverage | None:
    build_index(folder, open_source(root), shard_images=shard_images)
    index = Index.open(folder)
    coverage = index.coverage()
    assert coverage is not None
    assert coverage["images"] == len(index)
    assert coverage["left_out"] == dict(sorted(count_reasons(index.quarantine()).items()))
    return coverage


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_used_and_what_is_left_out_add_up(kind: str, tmp_path: Path) -> None:
    for seed in range(EXAMPLES):
        rng = np.random.default_rng([seed, sorted(WRITERS).index(kind)])
        root = tmp_path / f"{seed}" / "set"
        count = WRITERS[kind](root, rng)
        if kind != "generations":
            whole = by_index(root, tmp_path / f"{seed}" / "index", int(rng.integers(1, 9)))
            check(whole, count)
            assert read_training_set(root).coverage == whole
        if kind != "folder":
            check(by_filter(root), count)


def test_a_build_that_was_stopped_adds_up(tmp_path: Path) -> None:
    """Wherever the build was killed, between any two shards."""
    for kind in ("folder", "tars", "parquet", "arrays"):
        rng = np.random.default_rng(5)
        root = tmp_path / kind
        if kind == "folder":
            count = odd_sets.write_folder(root, rng, list(odd_sets.IN_FOLDERS)[:12])
        else:
            count = WRITERS[kind](root, rng)
        whole = by_index(root, tmp_path / f"{kind}-index", 2)
        check(whole, count)
        shards = sorted((tmp_path / f"{kind}-index").glob("shard-*"))
        bytes_before = {s.name: (s / "shard.json").read_bytes() for s in shards}
        for kept in range(len(shards) + 1):
            folder = tmp_path / f"{kind}-index-{kept}"

            class Killed(Exception):
                pass

            made = 0

            def stop(images: int, broken: int, folder: Path = folder, kept: int = kept) -> None:
                nonlocal made
                if len(list(folder.glob("shard-*"))) >= kept:
                    raise Killed

            with contextlib.suppress(Killed):
                build_index(folder, open_source(root), shard_images=2, progress=stop)
            assert by_index(root, folder, 2) == whole
            again = {s.name: (s / "shard.json").read_bytes() for s in sorted(folder.glob("shard-*"))}
            assert again == bytes_before


def test_the_commands_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    train, images = tmp_path / "train", tmp_path / "images"
    count = odd_sets.write_folder(
        train, rng, ["no suffix", "avif", "text", "text", "other size", "apple double"]
    )
    shown = odd_sets.write_generations(images, rng, ["no suffix", "avif", "text alone", "cut", "dots"])

    def said(*words: object) -> tuple[str, Coverage]:
        capsys.readouterr()
        complete = words[0] in ("index", "prompts")  # a run of few images is incomplete
        assert main([*map(str, words)]) == (0 if complete else 5)
        line = capsys.readouterr().out
        assert main([*map(str, words), "--json"]) == (0 if complete else 5)
        coverage: Coverage = json.loads(capsys.readouterr().out)["coverage"]
        return line, coverage

    line, coverage = said("index", tmp_path / "index", "--source", train, "--quiet")
    check(coverage, count)
    assert f"pointed at {count}: used {count - 3}" in line
    assert "left out 3 (1 format, 1 system, 1 wrong-size)" in line
    run = ("filter", tmp_path / "run", "--images", images, "--workers", 1, "--quiet", "--min-clique", 2)
    if main([*map(str, run)]) == 1:  # a prompt without an image is failed
        capsys.readouterr()
        assert main([*map(str, run), "--json"]) == 1
        check(json.loads(capsys.readouterr().out)["coverage"], shown)
    else:
        line, coverage = said(*run)
        check(coverage, shown)
        assert f"pointed at {shown}:" in line
    for against in (("--training", train), ("--index", tmp_path / "index")):
        line, coverage = said("match", tmp_path / "run", *against)
        check(coverage, count)
        assert f"pointed at {count}:" in line
    line, coverage = said(
        "prompts",
        tmp_path / "p.parquet",
        "--index",
        tmp_path / "index",
        "--min-count",
        1,
        "--threshold",
        0.01,
    )
    check(coverage, count)
    assert f"pointed at {count}:" in line


def test_a_folder_that_leads_around_is_read_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root, hub = tmp_path / "set", tmp_path / "hub"
    count = odd_sets.write_folder(root, rng, [])
    hub.mkdir()
    (hub / "blob").write_bytes(odd_sets.picture(rng))
    (root / "z.png").symlink_to(hub / "blob")  # as the caches of hubs have them
    for name in ("one", "two"):
        (root / name).symlink_to(hub)
    (hub / "back").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    coverage = read_training_set(root).coverage
    check(coverage, count + 1 + 1 + 1 + 1 + 1)
    assert coverage is not None
    assert coverage["left_out"] == {"path": 3}


def test_a_source_that_lost_count_is_a_fault() -> None:
    with pytest.raises(Exception, match="holds 3 files, members or rows, of which 2 are accounted for"):
        make_coverage(3, 1, 0, {"alpha": 1}, "set")


def test_compressed_archives_are_named(tmp_path: Path) -> None:
    import gzip

    for name in ("a.tar.gz", "a.tar"):
        root = tmp_path / name.replace(".", "")
        root.mkdir()
        (root / name).write_bytes(gzip.compress(b"x" * 2000))
        for read in (open_source, StoredPrompts, read_training_set):
            with pytest.raises(ConfigError, match=r"compressed"):
                build_index(tmp_path / "i", read(root))  # type: ignore[arg-type,operator]
