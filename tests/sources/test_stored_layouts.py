"""Stored generations in every layout: the same images, seeds and prompts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.audit import filter_stored
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.sources.by_prompt import StoredPrompts
from tests.support.stored_sets import COUNT, LAYOUTS, NAMES, encoded, generations, read_all, write_arrays
from tests.support.synthetic import MEMORISED, SHAPE


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images(layout: str, threads: int, tmp_path: Path) -> None:
    stored = StoredPrompts(LAYOUTS[layout](tmp_path / "set"), threads=threads)
    assert sorted(stored.prompts) == NAMES
    assert stored.image_shape == SHAPE
    for position, prompt in enumerate(stored.prompts):
        seeds, images = generations(NAMES.index(prompt), prompt)
        pixels, got, constant, broken = read_all(stored, position)
        assert not any(constant)
        assert broken == []
        assert stored.count(position) == COUNT
        want = dict(zip(range(COUNT) if "npy" in layout else seeds, images, strict=True))
        assert sorted(got) == sorted(want)
        assert all(np.array_equal(image, want[seed]) for seed, image in zip(got, pixels, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_filter_finds_the_same_in_every_layout(layout: str, tmp_path: Path) -> None:
    config = Config(source="stored", images=str(LAYOUTS[layout](tmp_path / "set")))
    folder = filter_stored(tmp_path / "run", config, workers=1, quiet=True)
    rows = {row["prompt"]: row for row in folder.findings()}
    assert {p for p, row in rows.items() if row["status"] == "finding"} == set(MEMORISED)
    reference = filter_stored(
        tmp_path / "other",
        Config(source="stored", images=str(write_arrays(tmp_path / "arrays"))),
        workers=1,
        quiet=True,
    )
    for row in reference.findings():
        mine = rows[row["prompt"]]
        assert [mine[k] for k in ("size", "mean_distance", "edges")] == [
            row[k] for k in ("size", "mean_distance", "edges")
        ]


def test_good_images_lie_behind_one_another_whatever_is_between(tmp_path: Path) -> None:
    """Broken and constant ones in all places, in chunks of a few: the good ones close up and keep seeds and order."""
    images = np.random.default_rng(3).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    folder = tmp_path / "set" / "one"
    folder.mkdir(parents=True)
    kinds = np.random.default_rng(4).integers(0, 4, 60)
    for seed, (image, kind) in enumerate(zip(images, kinds, strict=True)):
        content = {0: encoded(np.full_like(image, seed)), 1: b"broken"}.get(int(kind), encoded(image))
        (folder / f"{seed:03d}.png").write_bytes(content)
    for threads in (1, 2):
        stored = StoredPrompts(tmp_path / "set", threads=threads)
        room = stored.buffer(stored.count(0))
        kept, order = 0, []
        for pixels, seeds, constant, broken in stored.read(0):
            order.extend(seeds)
            order.extend(int(Path(b["source"]).stem) for b in broken)
            for image, seed, flat in zip(pixels, seeds, constant, strict=True):
                assert (kinds[seed] == 0) == flat
                if flat:
                    assert (image == seed).all()
                else:
                    assert np.shares_memory(image, room[kept])
                    assert np.array_equal(room[kept], images[seed])
                    kept += 1
        assert order == list(range(60))
        assert kept == int((kinds > 1).sum())


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "stored")
    os.makedirs(root + b"/caf\xe9")
    for seed, image in enumerate(generations(0, "a red fox")[1]):
        with open(root + b"/caf\xe9/%d\xff.png" % seed, "wb") as file:
            file.write(encoded(image))
    with open(root + b"/caf\xe9/bad\xfe.png", "wb") as file:
        file.write(b"bad")
    run = filter_stored(
        tmp_path / "run", Config(source="stored", images=str(tmp_path / "stored")), workers=1, quiet=True
    )
    (row,) = run.findings()
    assert (row["prompt"], row["status"], row["generated"]) == (r"caf\xe9", "finding", COUNT)
    assert [q["source"] for q in run.quarantine()] == [r"caf\xe9/bad\xfe.png"]


def test_a_declared_background_and_the_common_size(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "p"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(encoded(np.zeros((32, 32, 3), np.uint8)))
    for seed in range(1, 6):
        clear = np.random.default_rng(seed).integers(0, 256, (16, 16, 4), dtype=np.uint8)
        (folder / f"{seed}.png").write_bytes(encoded(clear))
    stored = StoredPrompts(tmp_path / "set", background=(255, 255, 255))
    assert stored.image_shape == (16, 16, 3), "the most common size, not the first"
    _, seeds, _, broken = read_all(stored, 0)
    assert seeds == [1, 2, 3, 4, 5]
    assert [b["reason"] for b in broken] == ["wrong-size"]
    assert StoredPrompts(tmp_path / "set").image_shape == (16, 16, 3)
    config = Config(source="stored", images=str(tmp_path / "set"), background="#ffffff")
    run = filter_stored(tmp_path / "run", config, workers=1, quiet=True)
    assert run.findings()[0]["generated"] == 5
    with pytest.raises(ConfigError, match="background"):
        filter_stored(
            tmp_path / "run", Config(source="stored", images=str(tmp_path / "set")), workers=1, quiet=True
        )
    with pytest.raises(ConfigError, match="background must look like #ffffff"):
        Config(source="stored", images="x", background="white")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: None, "holds neither images nor"),
        (lambda p: (p / "a.tar.gz").write_bytes(b"x"), "unpack a.tar.gz"),
        (
            lambda p: (
                write_arrays(p / "x"),
                (p / "x" / "0.tar").write_bytes(b""),
                (p / "x").rename(p / "y"),
            ),
            "keep one layout",
        ),
        (lambda p: pq.write_table(pa.table({"a": [1]}), p / "a.parquet"), "no column of image bytes"),
        (lambda p: (p / "a.npy").write_bytes(b"x"), "not one readable image"),
    ],
)
def test_what_cannot_be_read_is_said(make: Any, text: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=text):
        StoredPrompts(tmp_path / "y" if (tmp_path / "y").exists() else tmp_path)


def test_prompt_files_must_fit(tmp_path: Path) -> None:
    root = write_arrays(tmp_path / "set")
    (root / "prompts.txt").write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match="2 lines for 3 prompts"):
        StoredPrompts(root)
    (root / "prompts.txt").write_text("one\ntwo\nthree")
    assert StoredPrompts(root).prompts == ["one", "two", "three"]
