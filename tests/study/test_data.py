"""The demo's training set: what was planted, how far apart, and that the truth says so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study import captions, dataset, emoji


def max_tile_ssd(a: NDArray[np.uint8], b: NDArray[np.uint8], cells: int = 4) -> NDArray[np.int64]:
    """(N, M), independent of memcore.distance: differences in int64, the largest of cells x cells tiles."""
    side = a.shape[1] // cells
    answer = np.empty((len(a), len(b)), np.int64)
    for i, image in enumerate(a.astype(np.int64)):
        squares = (b.astype(np.int64) - image) ** 2
        tiles = squares.reshape(len(b), cells, side, cells, side, 3).sum(axis=(2, 4, 5))
        answer[i] = tiles.reshape(len(b), -1).max(axis=1)
    return answer


def within(ssd: NDArray[np.int64], percent: int, cells: int) -> NDArray[np.bool_]:
    """Distance <= percent / 100, in integers."""
    tile_bytes = (64 // cells) ** 2 * 3
    return ssd * 100**2 <= percent**2 * 255**2 * tile_bytes


@pytest.fixture(scope="module")
def training() -> dataset.TrainingSet:
    return dataset.build_training_set(emoji.load_art())


@pytest.fixture(scope="module")
def by_kind(training: dataset.TrainingSet) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(training.items):
        groups.setdefault(item.kind, []).append(index)
    return groups


def test_kinds_and_counts(training: dataset.TrainingSet, by_kind: dict[str, list[int]]) -> None:
    assert training.images.shape == (len(training.items), 64, 64, 3)
    assert training.images.dtype == np.uint8
    audited = [entry["kind"] for entry in dataset.truth(training)["prompts"]]
    counts = Counter(audited)
    assert counts["dup200"] >= 7
    assert counts["dup50"] >= 7
    assert counts["dup10"] >= 6
    assert counts["once"] >= 16
    assert counts["generic"] >= 8
    assert counts["flat"] >= 1
    assert counts["variations"] >= 2
    assert len(by_kind["once"]) >= 40
    assert 45 <= len(audited) <= 60
    positive = sum(captions.EXPECTED[kind] is True for kind in audited)
    negative = sum(captions.EXPECTED[kind] is False for kind in audited)
    assert positive >= 14
    assert negative >= 27


def test_copies_are_what_the_kind_says(training: dataset.TrainingSet) -> None:
    seen = Counter(training.entries().tolist())
    for index, item in enumerate(training.items):
        assert seen[index] == item.copies == captions.COPIES[item.kind]


def test_images_are_unique(training: dataset.TrainingSet) -> None:
    assert len({image.tobytes() for image in training.images}) == len(training.images)


def test_single_images_are_far_apart(training: dataset.TrainingSet, by_kind: dict[str, list[int]]) -> None:
    index = [i for kind in ("dup200", "dup50", "dup10", "once") for i in by_kind[kind]]
    near = within(max_tile_ssd(training.images[index], training.images[index]), 30, 4)
    # "near" holds distances of exactly 0.3 as well; none occurs.
    assert near.sum() == len(index)


def test_planted_images_are_far_from_all_others(
    training: dataset.TrainingSet, by_kind: dict[str, list[int]]
) -> None:
    planted = [i for kind in ("dup200", "dup50", "dup10") for i in by_kind[kind]]
    near = within(max_tile_ssd(training.images[planted], training.images), 15, 4)
    assert near.sum() == len(planted)


@pytest.mark.parametrize("caption", captions.FLAT)
def test_flat_pairs_up_in_plain_l2_alone(training: dataset.TrainingSet, caption: str) -> None:
    images = _images_of(training, caption)
    pairs = np.triu_indices(len(images), 1)
    assert within(max_tile_ssd(images, images, 1), 15, 1)[pairs].mean() > 0.9
    assert not within(max_tile_ssd(images, images, 4), 15, 4)[pairs].any()


@pytest.mark.parametrize("caption", captions.VARIATIONS)
def test_variations_are_mostly_apart(training: dataset.TrainingSet, caption: str) -> None:
    images = _images_of(training, caption)
    assert len(images) >= 24
    pairs = np.triu_indices(len(images), 1)
    assert within(max_tile_ssd(images, images), 15, 4)[pairs].mean() < 0.05


def test_truth_and_prompts_agree_with_labels(training: dataset.TrainingSet, tmp_path: Path) -> None:
    dataset.save(training, tmp_path)
    truth = json.loads((tmp_path / "truth.json").read_text("utf-8"))
    labels = json.loads((tmp_path / "train.json").read_text("utf-8"))["images"]
    prompts = (tmp_path / "prompts.txt").read_text("utf-8").splitlines()
    assert truth["format"] == 1
    assert [entry["prompt"] for entry in truth["prompts"]] == prompts
    assert len(set(prompts)) == len(prompts)
    for entry in truth["prompts"]:
        rows = [row for row in labels if row["caption"] == entry["prompt"]]
        assert entry["training_images"] == [row["index"] for row in rows]
        assert {row["kind"] for row in rows} == {entry["kind"]}
        assert {row["copies"] for row in rows} == {entry["copies"]}
        assert entry["expected"] is {200: True, 50: True, 10: None, 1: False}[entry["copies"]]
    stored = dataset.load(tmp_path)
    assert stored.items == training.items
    assert np.array_equal(stored.images, training.images)


def test_same_art_same_bytes(training: dataset.TrainingSet, tmp_path: Path) -> None:
    again = dataset.build_training_set(emoji.load_art())
    assert again.items == training.items
    assert again.images.tobytes() == training.images.tobytes()
    for folder in ("one", "two"):
        dataset.save(again, tmp_path / folder)
    for name in ("train.npz", "train.json", "truth.json", "prompts.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_bundled_data_is_what_the_code_builds(training: dataset.TrainingSet) -> None:
    stored = dataset.load(dataset.load_demo().folder)
    assert stored.items == training.items
    assert np.array_equal(stored.images, training.images)


def test_art_survives_the_sheet(tmp_path: Path) -> None:
    art = dict(list(emoji.load_art().items())[:20])  # one row and a part of the next
    emoji.save_art(art, tmp_path / "art.webp")
    again = emoji.load_art(tmp_path / "art.webp")
    assert list(again) == list(art)
    assert all(np.array_equal(again[name], art[name]) for name in art)


def test_compose_keeps_opaque_and_clear_pixels() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (200, 200, 200, 128)
    image = emoji.compose(rgba, (100, 50, 0), top=1, left=2, size=4)
    assert image[1, 2].tolist() == [10, 20, 30]
    assert image[1, 3].tolist() == [150, 125, 100]
    assert image[2, 2].tolist() == [100, 50, 0]
    assert image[0, 0].tolist() == [100, 50, 0]


def test_missing_art_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from-npm"):
        emoji.load_art(tmp_path / "none.webp")
    art = emoji.load_art()
    del art["rocket"]
    with pytest.raises(ConfigError, match="rocket"):
        dataset.build_training_set(art)


def _images_of(training: dataset.TrainingSet, caption: str) -> NDArray[np.uint8]:
    return training.images[[i for i, item in enumerate(training.items) if item.caption == caption]]
