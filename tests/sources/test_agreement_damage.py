"""Damaged files of every kind: the filter and the index use the same images, and refuse the rest for the same reasons."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import ConfigError
from memcore.images import REASONS, UnreadableImage
from memcore.sources import parquet
from memcore.sources.base import Source, StoredSource
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.decoded import DecodedSource, name_of
from memcore.sources.in_memory import load_source
from memcore.sources.open import open_source
from tests.support.stored_sets import Pixels, encoded, read_all, write_tars

SHAPE = (16, 16, 3)


def by_filter(path: Path) -> tuple[set[bytes], list[tuple[str, str]]]:
    """(the images that are used, (last part of the source, reason) of those that are not)."""
    stored = StoredPrompts(path, shape=SHAPE)
    used: set[bytes] = set()
    refused: list[tuple[str, str]] = []
    for prompt_id in range(len(stored.prompts)):
        pixels, _, constant, broken = read_all(stored, prompt_id)
        assert not any(constant)
        used |= {image.tobytes() for image in pixels}
        refused += [(entry["source"], entry["reason"]) for entry in broken]
    return used, sorted(refused)


def by_index(source: Source) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Return the answer of the layers that the index is built on."""
    reader = DecodedSource(source, None, None, 1)
    reader.shape = SHAPE
    used: list[bytes] = []
    left_out = source.left_out if isinstance(source, StoredSource) else ()
    refused = [(entry["source"], entry["reason"]) for entry in left_out]
    for part in range(len(source.parts)):
        for batch, decoded in reader.read(part, 0):
            for i, pixels in enumerate(decoded):
                beside = batch.beside[i].left_out if batch.beside is not None else ()
                refused.extend((entry["source"], entry["reason"]) for entry in beside)
                if isinstance(pixels, UnreadableImage):
                    refused.append((name_of(batch, i), pixels.reason))
                else:
                    used.append(pixels.tobytes())
    return used, sorted(refused)


def resumed_anywhere(source: Source) -> None:
    """From every position that an entry leaves, what follows is what followed it before."""
    for part in range(len(source.parts)):
        whole = [
            (tuple(place), int(after))
            for batch in source.read(part, 0)
            for place, after in zip(batch.places.tolist(), batch.after, strict=True)
        ]
        for i in range(0, len(whole), 7):
            rest = [tuple(p) for batch in source.read(part, whole[i][1]) for p in batch.places.tolist()]
            assert rest == [place for place, _ in whole[i + 1 :]]


@pytest.mark.parametrize("seed", range(12))
def test_tars_that_are_cut_or_overwritten(seed: int, tmp_path: Path) -> None:
    root = write_tars(tmp_path / "set")
    rng = random.Random(seed)
    path = root / "0.tar"
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    if seed % 3 == 0:
        del data[at:]
    else:
        length = rng.choice([1, 40, 600])
        data[at : at + length] = rng.randbytes(len(data[at : at + length]))
    path.write_bytes(data)
    used, refused = by_filter(root)
    source = open_source(root)
    indexed, quarantined = by_index(source)
    assert used == set(indexed)
    assert refused == quarantined
    assert {reason for _, reason in refused} <= set(REASONS)
    resumed_anywhere(source)
    pixels, names, broken = load_source(source)
    assert len(pixels) == len(names) == len(indexed)
    assert sorted((entry["source"], entry["reason"]) for entry in broken) == quarantined


def table(path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, *SHAPE), dtype=np.uint8)
    rows: list[bytes | None] = [encoded(image) for image in images]
    rows[17] = None
    path.mkdir()
    pq.write_table(
        pa.table({"image": rows, "caption": [f"caption {i // 10}" for i in range(40)]}),
        path / "0.parquet",
        row_group_size=7,
    )
    return path


@pytest.mark.parametrize("seed", range(8))
def test_tables_that_are_overwritten(seed: int, tmp_path: Path) -> None:
    root = table(tmp_path / "set")
    rng = random.Random(seed)
    path = root / "0.parquet"
    data = bytearray(path.read_bytes())
    at = rng.randrange(4, len(data) - 2500)
    data[at : at + 60] = rng.randbytes(60)
    path.write_bytes(data)
    source = open_source(root)
    used, refused = by_filter(root)
    indexed, quarantined = by_index(source)
    assert used == set(indexed)
    assert sorted(reason for _, reason in refused) == sorted(reason for _, reason in quarantined)
    assert len(indexed) >= 40 - 1 - 14, "two neighbouring groups of rows are lost at most"
    resumed_anywhere(source)


@pytest.mark.parametrize("threads", [1, 3])
def test_large_groups_of_rows_give_the_same(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(table(tmp_path / "set"))
    whole = by_index(source)
    assert len(whole[0]) == 39
    assert whole[1] == [("0.parquet#17", "no-image")]
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 1)
    assert by_index(source) == whole
    resumed_anywhere(source)
    places = np.concatenate([batch.places for batch in source.read(0, 0)])
    chosen = [39, 0, 17, 8]
    one_by_one = [next(iter(source.fetch(places[i : i + 1]))) for i in chosen]
    for a, b in zip(source.fetch(places[chosen]), one_by_one, strict=True):
        assert str(a) == str(b) if isinstance(a, UnreadableImage) else bytes(a) == bytes(b)  # type: ignore[arg-type]
    monkeypatch.setattr(parquet, "_HELD_BYTES", 1)
    with pytest.raises(ConfigError, match="smaller row groups"):
        StoredPrompts(tmp_path / "set", threads=threads)


def arrays(path: Path, images: Pixels, *, order: str = "C") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asfortranarray(images) if order == "F" else images)
    return path


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_prompts_are_read_prompt_after_prompt(order: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, *SHAPE), dtype=np.uint8)
    path = arrays(tmp_path / "one.npy", images, order=order)
    source = open_source(path)
    assert by_index(source)[0] == [image.tobytes() for image in images.reshape(-1, *SHAPE)]
    stored = StoredPrompts(path)
    assert stored.prompts == ["one 0", "one 1", "one 2"]
    assert all(np.array_equal(read_all(stored, i)[0], images[i]) for i in range(3))
    places = np.concatenate([batch.places for batch in source.read(0, 0)])
    assert np.array_equal(np.stack(list(source.fetch(places[[20, 3]]))), images.reshape(-1, *SHAPE)[[20, 3]])
    assert [entry.name for entry in source.entries(0, 22)] == ["22", "23"]
    resumed_anywhere(source)
    os.truncate(path, path.stat().st_size - 10)
    lost = "one.npy[23:24]" if order == "C" else "one.npy"
    assert by_index(open_source(path))[1] == [(lost, "truncated")]


def test_an_array_of_prompts_among_others_is_refused_and_not_cut(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, *SHAPE), dtype=np.uint8)
    arrays(tmp_path / "set" / "a.npy", images[0])
    arrays(tmp_path / "set" / "b.npy", images)
    assert by_filter(tmp_path / "set")[1] == [("b.npy", "wrong-size")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    image = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    (root / "a.png").write_bytes(encoded(image))
    os.mkfifo(root / "b.png")
    os.mkfifo(root / "a.txt")
    (root / "c.png").mkdir()
    (root / "d.png").symlink_to("nowhere")
    want = [("a.txt", "path"), ("b.png", "path"), ("c.png", "path"), ("d.png", "unreadable")]
    assert by_filter(root) == ({image.tobytes()}, want)
    assert by_index(open_source(root)) == ([image.tobytes()], want)
    assert StoredPrompts(root).fingerprint.startswith("stored:")
