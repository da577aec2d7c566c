"""The data of a study: what is read, what is refused, and that sets are what they say."""

from __future__ import annotations

import gzip
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memcore.errors import ConfigError
from memcore.study.data import cifar10, clip_art
from memcore.study.data.images import ImageSet, make_grey, shrink
from memcore.study.data.load import load_data
from memcore.study.data.sets import draw_canaries, draw_half, draw_sets, members_digest, shift
from memcore.study.protocols.protocol import DataSpec, Factors
from tests.support.study_sets import blobs, write_cifar10, write_idx


def write_fashion(folder: Path, images: int = 30) -> np.ndarray:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (images, 28, 28), np.uint8)
    for name, count in (("train", images), ("t10k", 10)):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", pixels[:count])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return pixels


def test_fashion_is_read_from_its_idx_files(tmp_path: Path) -> None:
    pixels = write_fashion(tmp_path)
    data = load_data(DataSpec(kind="fashion", path=str(tmp_path), side=16))
    assert data.images.shape == (30, 16, 16, 1)
    assert data.reference.shape == (10, 16, 16, 1)
    assert data.classes == 10
    block = np.pad(pixels[3], 2).astype(int)[4:6, 6:8]
    assert data.images[3, 2, 3, 0] == (block.sum() + 2) // 4
    whole = load_data(DataSpec(kind="fashion", path=str(tmp_path), side=32))
    assert np.array_equal(whole.images[:, 2:30, 2:30, 0], pixels)


def test_damaged_idx_files_are_refused(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    plain = gzip.decompress(whole)
    for data, said in (
        (whole[:-20], "damaged"),
        (gzip.compress(plain[:-1]), "its header says"),
        (gzip.compress(plain[:9]), "ends in its header"),
        (b"\0\0\x0d\x03" + plain[4:], "no IDX file"),
        (b"", "no IDX file"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=said):
            load_data(DataSpec(kind="fashion", path=str(tmp_path)))
    path.unlink()
    with pytest.raises(ConfigError, match="apt-get install dataset-fashion-mnist"):
        load_data(DataSpec(kind="fashion", path=str(tmp_path)))


def test_cifar10_is_the_official_archive_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synthetic, of the official layout: CIFAR-10 itself cannot be shipped."""
    path = tmp_path / "cifar-10-binary.tar.gz"
    images, labels, md5 = write_cifar10(path)
    spec = DataSpec(kind="cifar10", path=str(path), side=32)
    with pytest.raises(ConfigError, match=f"its MD5 is {md5}, not {cifar10.MD5}"):
        load_data(spec)
    monkeypatch.setattr(cifar10, "MD5", md5)
    data = load_data(spec)
    assert data.images.shape == (50_000, 32, 32, 3)
    assert data.reference.shape == (10_000, 32, 32, 3)
    assert np.array_equal(data.images, images[:50_000])
    assert np.array_equal(data.reference_labels, labels[50_000:])
    with pytest.raises(ConfigError, match="is a folder"):
        load_data(DataSpec(kind="cifar10", path=str(tmp_path)))


def test_bundled_images_are_the_same_every_time_and_all_differ() -> None:
    spec = DataSpec(kind="bundled", side=8, grey=True)
    first, second = load_data(spec), load_data(spec)
    assert first.digest() == second.digest()
    assert first.images.shape == (4000, 8, 8, 1)
    assert len(np.unique(first.images.reshape(4000, -1), axis=0)) > 3990
    assert load_data(DataSpec(kind="bundled", side=8, grey=True, seed=1)).digest() != first.digest()


def test_any_stored_images_are_resized_and_split(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", blobs(50, channels=3))
    data = load_data(DataSpec(kind="stored", path=str(tmp_path / "x.npy"), side=8))
    assert data.images.shape == (40, 8, 8, 3)
    assert data.reference.shape == (10, 8, 8, 3)
    together = np.concatenate([data.images, data.reference]).reshape(50, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, blobs(50, channels=3).reshape(50, -1)))
    assert data.classes == 0
    with pytest.raises(ConfigError, match="path is missing"):
        load_data(DataSpec(kind="stored"))


def test_clip_art_of_a_folder_is_read_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    art = tmp_path / "openclipart" / "animals"
    art.mkdir(parents=True)
    for number in range(30):
        picture = np.full((40, 40, 4), 255, np.uint8)
        picture[:, : number + 1, :3] = number * 8
        Image.fromarray(picture).save(art / f"{number}.png")
    shutil.copy(art / "3.png", art / "the same.png")
    (art / "broken.png").write_bytes(b"none")
    Image.new("1", (9_600, 9_600)).save(art / "large.png")
    Image.new("RGBA", (400, 20), (0, 0, 0, 255)).save(art / "line.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_data(DataSpec(kind="clip-art", path=str(tmp_path), side=32))
    assert len(data.images) + len(data.reference) == 30
    assert data.images.shape[1:] == (32, 32, 3)
    assert data.source == "Open Clip Art Library, public domain (30 of 34 pictures)"


def test_clip_art_that_is_not_there_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_art, "DEBIAN", tmp_path / "not installed")
    with pytest.raises(ConfigError, match="npm pack emoji-datasource-google"):
        load_data(DataSpec(kind="clip-art", path=str(tmp_path)))
    (tmp_path / "emoji-datasource-twitter-16.0.0.tgz").write_bytes(b"other")
    with pytest.raises(ConfigError, match="has SHA-256"):
        load_data(DataSpec(kind="clip-art", path=str(tmp_path)))


@pytest.fixture(scope="module")
def data() -> ImageSet:
    images = blobs(400)
    return ImageSet(images, np.arange(400) % 3, images[:2], np.zeros(2, np.int64), "blobs")


def test_sets_of_a_seed_are_disjoint_equal_and_of_its_own_block(data: ImageSet) -> None:
    spec = DataSpec(block=80)
    seen: set[int] = set()
    for seed in range(5):
        sets = draw_sets(data, spec, Factors(n=30, copies=((2, 10), (3, 4))), seed)
        own = {*sets.members.tolist(), *sets.control.tolist()}
        assert len(sets.members) == len(sets.held_out) == 30
        assert np.array_equal(sets.control[:30], sets.held_out)
        assert not set(sets.members.tolist()) & set(sets.control.tolist())
        assert sets.copies.tolist() == [10, 10, 4, 4, 4, *[1] * 25]
        assert np.bincount(sets.rows()).tolist() == sets.copies.tolist()
        assert not own & seen
        seen |= own
    with pytest.raises(ConfigError, match="seed 5 needs 60 images for n=30, its block has 0"):
        draw_sets(data, spec, Factors(n=30), 5)


def test_a_smaller_set_is_part_of_a_larger_one(data: ImageSet) -> None:
    spec = DataSpec(block=80)
    small, large = (draw_sets(data, spec, Factors(n=n), 0).members for n in (10, 40))
    assert np.array_equal(small, large[:10])


def test_deduplication_keeps_the_images_and_drops_the_copies(data: ImageSet) -> None:
    factors = Factors(n=20, copies=((5, 7),))
    twice = [
        draw_sets(data, DataSpec(), Factors(n=20, copies=((5, 7),), deduplicated=d), 0) for d in (False, True)
    ]
    assert np.array_equal(twice[0].members, twice[1].members)
    assert [len(s.rows()) for s in twice] == [factors.n + 5 * 6, factors.n]


def test_halves_are_complementary_in_pairs_and_differ_between_pairs(data: ImageSet) -> None:
    sets = [draw_sets(data, DataSpec(block=80), Factors(n=40, half=h), 1) for h in range(6)]
    pool = set(sets[0].members.tolist()) | set(sets[0].held_out.tolist())
    assert len(pool) == 40
    for even, odd in zip(sets[::2], sets[1::2], strict=True):
        assert np.array_equal(even.members, odd.held_out)
        assert np.array_equal(even.held_out, odd.members)
        assert set(even.members.tolist()) | set(odd.members.tolist()) == pool
    assert len({tuple(s.members.tolist()) for s in sets}) == 6
    counts = sum(np.isin(np.sort(list(pool)), s.members).astype(int) for s in sets)
    assert (counts == 3).all()
    assert not np.array_equal(draw_half(np.arange(40), 0, 0)[0], draw_half(np.arange(40), 0, 1)[0])


def test_the_shifted_control_is_another_distribution_and_canaries_are_an_endless_row(data: ImageSet) -> None:
    shifted = shift(data.images[:50])
    assert np.abs(shifted.astype(int) - data.images[:50]).mean() > 2
    assert np.array_equal(shifted, shift(data.images[:50]))
    five = draw_canaries((8, 8, 1), 5)
    assert np.array_equal(draw_canaries((8, 8, 1), 3), five[:3])
    assert len(np.unique(five.reshape(5, -1), axis=0)) == 5


def test_the_member_digest_sees_order_and_labels(data: ImageSet) -> None:
    images, labels = data.images[:5], data.labels[:5]
    told = {members_digest(images, None), members_digest(images[::-1], None), members_digest(images, labels)}
    assert len(told) == 3


def test_shrinking_and_grey_are_exact() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    small = shrink(images, 4, "it")
    assert small[1, 2, 3, 1] == (images[1, 4:6, 6:8, 1].astype(int).sum() + 2) // 4
    with pytest.raises(ConfigError, match="side of it must divide 8, got 3"):
        shrink(images, 3, "it")
    assert make_grey(np.full((1, 2, 2, 3), 255, np.uint8)).tolist() == np.full((1, 2, 2, 1), 255).tolist()
