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
from memcore.duplicates.most_duplicated import prompts_from_embeddings
from memcore.errors import ConfigError
from memcore.images import REASONS
from memcore.images.resize import Resize
from memcore.index import Index, build_index, open_source
from memcore.runs.prompts import read_prompts, scan_prompts
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.coverage import Coverage, count_reasons, make_coverage
from memcore.sources.in_memory import read_training_set
from tests.support import odd_sets
from tests.support.odd_sets import SIDE

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


def by_filter(root: Path, resize: Resize | None = None) -> Coverage:
    """As a filter's run has it: images that are read, and those that are quarantined."""
    stored = StoredPrompts(root, resize=resize)
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


def by_index(root: Path, folder: Path, shard_images: int, resize: Resize | None = None) -> Coverage | None:
    build_index(folder, open_source(root), shard_images=shard_images, resize=resize)
    index = Index.open(folder)
    coverage = index.coverage()
    assert coverage is not None
    assert coverage["images"] == len(index)
    assert coverage["left_out"] == dict(sorted(count_reasons(index.quarantine()).items()))
    return coverage


def by_embeddings(root: Path, out: Path, rng: np.random.Generator) -> Coverage | None:
    """As ``memcore prompts`` has it; None for a set without a caption."""
    source = open_source(root)
    rows = sum(len(batch) for part in range(len(source.parts)) for batch in source.read(part, 0))
    given = rng.normal(size=(rows, 4)).astype(np.float32)
    try:
        return prompts_from_embeddings(given, open_source(root), out, min_count=1)["coverage"]
    except ConfigError as error:
        if "has a caption" not in str(error):
            raise
        return None


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_used_and_what_is_left_out_add_up(kind: str, tmp_path: Path) -> None:
    """In every command: index, match, prompts and filter, each without and with a resize."""
    for seed in range(EXAMPLES):
        rng = np.random.default_rng([seed, sorted(WRITERS).index(kind)])
        root = tmp_path / f"{seed}" / "set"
        count = WRITERS[kind](root, rng)
        resize = Resize(SIDE, SIDE) if rng.random() < 0.5 else Resize(SIDE + 1, SIDE - 2, "box", "stretch")
        if kind != "generations":
            whole = by_index(root, tmp_path / f"{seed}" / "index", int(rng.integers(1, 9)))
            check(whole, count)
            assert read_training_set(root).coverage == whole
            resized = by_index(root, tmp_path / f"{seed}" / "resized", int(rng.integers(1, 9)), resize)
            check(resized, count)
            assert resized is not None
            assert "wrong-size" not in resized["left_out"] or kind == "arrays"
            assert read_training_set(root, resize=resize).coverage == resized
            if (of_prompts := by_embeddings(root, tmp_path / f"{seed}" / "p.parquet", rng)) is not None:
                check(of_prompts, count)
        if kind != "folder":
            check(by_filter(root), count)
            check(by_filter(root, resize), count)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".parquet"])
def test_lines_of_a_list_of_prompts_add_up(suffix: str, tmp_path: Path) -> None:
    """As ``memcore audit`` reads them: used, or left out as blank; repeated ones are used and told."""
    for seed in range(EXAMPLES):
        rng = np.random.default_rng([seed, len(suffix)])
        path = tmp_path / f"{seed}{suffix}"
        texts = odd_sets.write_texts(path, rng)
        told = scan_prompts(read_prompts(path))
        used = [text for text in texts if (text or "").strip()]
        assert (told.count, told.blank) == (len(used), len(texts) - len(used))
        assert told.repeated == len(used) - len(set(used))


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
        assert main([*map(str, words)]) == 5  # an image of another size, runs of few images
        line = capsys.readouterr().out
        assert main([*map(str, words), "--json"]) == 5
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
    for against in (("--training", train), ("--index", tmp_path / "index", "--source", train)):
        line, coverage = said("match", tmp_path / "run", *against)
        check(coverage, count)
        assert f"pointed at {count}:" in line
    line, coverage = said(
        "prompts",
        tmp_path / "p.parquet",
        "--index",
        tmp_path / "index",
        "--trust-paths",
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
