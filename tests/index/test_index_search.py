"""An index answers as brute force does: bounds, neighbours, matches, on both sides of every boundary."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import memcore
from memcore import _core
from memcore.errors import ArgumentValueError
from memcore.index import match_index, nearest, search
from memcore.index.pairs import pair_ssd
from memcore.index.points import Points
from memcore.index.sketch import Level, reaches
from memcore.matching.brute_force import match_findings
from memcore.matching.result import Closest, Match
from memcore.types import Threshold
from tests.support.index_sets import make_index, natural, tile_ssd

Images = NDArray[np.uint8]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_sketch_never_hides_a_pair(data: st.DataObject) -> None:
    """For every pair, the sketches' ssd is at most the limit of the pair's own ssd: also where the bound is tight."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    height, width, c = (
        data.draw(st.integers(1, 13)),
        data.draw(st.integers(1, 13)),
        data.draw(st.integers(1, 4)),
    )
    level = Level.of((height, width, c), data.draw(st.integers(1, 8)))
    kind = data.draw(st.sampled_from(["noise", "flat", "extreme", "near"]))
    if kind == "noise":
        images = rng.integers(0, 256, (8, height, width, c))
    elif kind == "flat":  # blocks that are constant: nothing but rounding is left of the slack
        images = np.broadcast_to(rng.integers(0, 256, (8, 1, 1, c)), (8, height, width, c)).copy()
    elif kind == "extreme":
        images = rng.integers(0, 2, (8, height, width, c)) * 255
    else:
        images = np.clip(
            rng.integers(0, 256, (1, height, width, c)) + rng.integers(-2, 3, (8, height, width, c)), 0, 255
        )
    pixels = images.astype(np.uint8)
    sketches = level.sketch(pixels)
    ssd = tile_ssd(pixels, pixels)
    of_sketches = ((sketches[:, None].astype(np.int64) - sketches[None]) ** 2).sum(-1)
    for i in range(8):
        for j in range(8):
            assert of_sketches[i, j] <= level.limit(int(ssd[i, j]))
            sure = level.surely_within(
                sketches[i : i + 1], sketches[j : j + 1], np.array([of_sketches[i, j]]), float(ssd[i, j]) - 1
            )
            assert not sure[0]  # what is surely within is within
    assert level.sketch(pixels[::-1])[::-1].tobytes() == sketches.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(*[st.one_of(st.integers(0, 10**6), st.integers(2**32 - 9, 2**32 - 1))] * 2), min_size=1
    )
)
def test_reaches_are_the_floors_of_the_triangle_inequality(pairs: list[tuple[int, int]]) -> None:
    for (a, b), wide in zip(pairs, reaches(*np.array(pairs).T).tolist(), strict=True):
        assert wide == min(a + b + math.isqrt(4 * a * b), 2**32 - 1)


def test_reaches_near_squares() -> None:
    a = np.array([s + d for s in (1, 3, 2**16 - 1, 2**30, 2**31 - 1) for d in (0, 1)])
    want = [min(x + y + math.isqrt(4 * x * y), 2**32 - 1) for x in a.tolist() for y in (x, x - 1, x + 1)]
    got = [int(reaches(x, y)) for x in a for y in (x, x - 1, x + 1)]
    assert got == want


@pytest.mark.parametrize("isa", memcore.isa.available())
@pytest.mark.parametrize("width", [5, 7, 16, 52, 67])
def test_native_search_and_pairs_equal_the_oracle(isa: str, width: int) -> None:
    rng = np.random.default_rng(width)
    sizes = np.array([1, 3, 1, 0, 17, 2])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    levels, within = [], []
    for bytes_of_level, kept in ((width, [0, 1, 60]), (2 * width + 3, [0, 30, 90])):
        corpus = rng.integers(0, 256, (1013, bytes_of_level), dtype=np.uint8)
        corpus[::50] = 255
        points = rng.integers(0, 256, (sizes.sum(), bytes_of_level), dtype=np.uint8)
        points[5], points[7] = 0, corpus[40]
        ssd = ((points[:, None].astype(np.int64) - corpus[None]) ** 2).sum(-1)
        limits = np.sort(ssd, axis=1)[:, kept][np.arange(len(points)), np.arange(len(points)) % 3]
        limits = limits.astype(np.uint32)
        limits[3] = max(0, int(limits[3]) - 1)  # one below the nearest
        limits[6] = 2**32 - 1  # no bound at all
        centres = points[np.minimum(offsets[:-1], len(points) - 1)]
        wide = np.zeros(len(sizes), np.uint32)
        for g in range(len(sizes)):
            for p in range(offsets[g], offsets[g + 1]):
                apart = ((centres[g].astype(np.int64) - points[p]) ** 2).sum()
                wide[g] = max(wide[g], int(reaches(limits[p], apart)))
        levels.append((centres, wide, points, limits, corpus))
        within.append(ssd <= limits[:, None])
    want = {(int(p), int(r), int(ssd[p, r])) for p, r in np.argwhere(within[0] & within[1])}
    assert len(want) > len(points)
    with memcore.isa.using(isa):
        for threads in (1, 2):
            found = _core.index_range(*levels, offsets, 1 << 30, threads)
            assert found is not None
            got = set(zip(*(values.tolist() for values in found), strict=True))
            assert got == want
            assert len(found[0]) == len(want)
        assert _core.index_range(*levels, offsets, 3, 2) is None
        i, j = rng.integers(0, len(points), 500), rng.integers(0, len(corpus), 500)
        assert (pair_ssd(points[:, None], corpus[:, None], i, j) == ssd[i, j].astype(np.uint64)).all()
    with pytest.raises(ValueError, match="both levels"):
        _core.index_range(levels[0], (*levels[1][:4], corpus[:-1]), offsets, 1)


def test_pairs_of_large_tiles_are_summed_in_64_bits() -> None:
    left, right = np.zeros((1, 2, 70_000), np.uint8), np.full((1, 2, 70_000), 255, np.uint8)
    assert pair_ssd(left, right, [0], [0])[0] == 70_000 * 255**2 > 2**32


@pytest.mark.parametrize(("side", "channels", "coarse", "fine"), [(16, 3, 4, 8), (13, 1, 3, 5), (5, 4, 4, 8)])
def test_nearest_is_knn(tmp_path: Path, side: int, channels: int, coarse: int, fine: int) -> None:
    rng = np.random.default_rng(side)
    training = natural(rng, 700, side, channels)
    training[100:104] = training[99]  # ties
    index = make_index(tmp_path, training, coarse=coarse, fine=fine, shard_images=150)
    queries = np.concatenate([natural(rng, 40, side, channels), training[99:101]])
    for k in (1, 5, 60):
        index.fetched = 0
        found, want = nearest(index, queries, k), memcore.knn(queries, training, k)
        assert (found.indices == want.indices).all()
        assert (found.ssd == want.ssd).all()
        assert (found.distances == want.distances).all()
    with pytest.raises(ArgumentValueError, match="k must be in"):
        nearest(index, queries, 701)
    with pytest.raises(ArgumentValueError, match="shape"):
        nearest(index, queries[:, :-1], 1)


def test_few_images_are_read_where_sketches_decide(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    training = np.repeat(np.repeat(rng.integers(0, 256, (2000, 4, 4, 3), dtype=np.uint8), 4, 1), 4, 2)
    index = make_index(tmp_path, training)
    nearest(index, training[:20], 2)
    assert index.fetched < 20 * 2 + 100


def findings_of(
    rng: np.random.Generator, training: Images, count: int, grid: tuple[int, int]
) -> tuple[list[Images], list[int]]:
    """Findings of every kind: copies, near misses, unrelated ones; members around a medoid."""
    members, medoids = [], []
    for f in range(count):
        base = training[rng.integers(len(training))].astype(int)
        if f % 3 == 1:
            base = base + rng.integers(-70, 71, base.shape)
        if f % 3 == 2:
            base = natural(rng, 3, base.shape[0], base.shape[2])[2].astype(int)
        size = int(rng.integers(1, 9))
        noise = rng.integers(-12, 13, (size, *base.shape)) * rng.integers(0, 5, (size, 1, 1, 1))
        members.append(np.clip(base + noise, 0, 255).astype(np.uint8))
        medoids.append(int(rng.integers(size)))
    return members, medoids


@pytest.mark.parametrize("metric", ["l2", "tiled_l2"])
@pytest.mark.parametrize(("seed", "delta"), [(0, 0.15), (1, 0.05), (2, 0.3), (3, 0.0)])
def test_match_index_equals_brute_force(tmp_path: Path, metric: str, seed: int, delta: float) -> None:
    rng = np.random.default_rng(seed)
    training = natural(rng, 600, 16)
    training[20:30] = training[10]
    training[30:40] = 128  # flat, as far as they go
    index = make_index(tmp_path, training, shard_images=200)
    members, medoids = findings_of(rng, training, 24, (4, 4))
    members[0][medoids[0]] = training[10]
    members[1] = np.stack([training[35]] * 3)
    medoids[1] = 2
    stacked = np.concatenate(members)
    options = {"delta": delta, "metric": metric, "neighbors": 4, "adaptive": True}
    found = match_index(index, lambda i: stacked[i], [len(m) for m in members], medoids, **options)  # type: ignore[arg-type]
    want = match_findings(
        np.stack([m[i] for m, i in zip(members, medoids, strict=True)]), members, training, **options
    )  # type: ignore[arg-type]
    assert found == want
    assert {m.extracted for m in found} == {True, False}
    assert found[0].index == 10
    assert found[0].eidetic >= 11
    assert any(m.closest is not None for m in found)


def test_members_that_copy_where_the_medoid_does_not(tmp_path: Path) -> None:
    training = np.zeros((3, 16, 16, 3), np.uint8)
    training[1], training[2] = 90, 200
    index = make_index(tmp_path, training)
    members = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (150, 139, 161)])  # 0.15 * 255 = 38.25
    (match,) = match_index(index, lambda i: members[i], [3], [0])
    assert not match.extracted
    assert match.members_extracted == 0
    assert match.closest is None
    members[2] = 162
    (match,) = match_index(index, lambda i: members[i], [3], [0])
    assert not match.extracted
    assert match.members_extracted == 1
    assert match.closest is not None
    assert (match.closest.member, match.closest.index) == (2, 2)
    assert match.closest.distance == pytest.approx(38 / 255)


def test_the_closest_pair_is_found_beyond_the_nearest_of_the_medoid(tmp_path: Path) -> None:
    training = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (100, 112, 107)])
    index = make_index(tmp_path, training, shard_images=1)
    members = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (101, 111, 112)])
    (match,) = match_index(index, lambda i: members[i], [3], [0], neighbors=1)
    assert match.index == 0
    assert match.members_extracted == 3
    assert match.closest == Closest(2, 1, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_both_sides_of_the_boundary_by_one_unit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A training image at exactly the limit is found, one a single unit of ssd farther is not; for both metrics."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    side = data.draw(st.sampled_from([8, 12]))
    tiles = data.draw(st.sampled_from([1, 4]))
    delta = data.draw(st.sampled_from([0.02, 0.05, 0.1, 0.15]))
    cut = (tiles, tiles)
    limit = Threshold(delta).ssd_max(side * side * 3 // tiles**2)
    base = rng.integers(60, 190, (side, side, 3))
    at = [_at_distance(rng, base, tiles, limit + extra) for extra in (0, 1)]
    training = np.stack([*at, *rng.integers(0, 256, (30, side, side, 3))]).astype(np.uint8)
    query = base.astype(np.uint8)[None]
    assert tile_ssd(query, training[:2], cut).tolist() == [[limit, limit + 1]]
    options = {
        "delta": delta,
        "metric": "l2" if tiles == 1 else "tiled_l2",
        "grid": (2, 2) if tiles == 1 else cut,
    }

    def match(images: Images) -> Match:
        index = make_index(tmp_path_factory.mktemp("edge"), images, shard_images=10)
        (found,) = match_index(index, lambda i: query[i], [1], [0], **options)  # type: ignore[arg-type]
        return found

    with_it, without = match(training), match(training[1:])
    assert with_it.extracted
    assert with_it.index == 0
    assert with_it.members_extracted == 1
    assert not without.extracted
    assert without.members_extracted == 0
    assert without.closest is None
    # The eidetic count has the same boundary, seen from the training image.
    seen = match(np.stack([query[0], *training[:2]]))
    assert seen.index == 0
    assert seen.eidetic == 2


def _at_distance(
    rng: np.random.Generator, base: NDArray[np.int64], tiles: int, ssd: int
) -> NDArray[np.int64]:
    """``base`` with differences whose ssd in the first tile is exactly ``ssd``, and less in every other."""
    side = base.shape[0] // tiles
    image = base.copy()
    tile = image[:side, :side].reshape(-1)
    left, k = ssd, len(tile)
    for place in rng.permutation(k):
        share = int((left / k) ** 0.5) if k > 8 else int(left**0.5)
        step = min(share, 60)
        tile[place] += step if tile[place] < 128 else -step
        left, k = left - step * step, k - 1
    assert left == 0
    assert tile.min() >= 0
    assert tile.max() <= 255
    image[:side, :side] = tile.reshape(side, side, 3)
    return image


def test_a_search_that_finds_too_much_is_cut_into_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = np.full((5000, 8, 8, 3), 77, np.uint8)
    index = make_index(tmp_path, training)
    monkeypatch.setattr(search, "_MAX_HITS", 4000)
    points = Points.of(index, lambda i: training[i], np.ones(3, np.int64))
    parts = list(search.candidates(index, points, np.zeros(3, np.int64)))
    assert len(parts) > 1
    pairs = {(int(p), int(r)) for point, rows, _, _ in parts for p, r in zip(point, rows, strict=True)}
    assert pairs == {(p, r) for p in range(3) for r in range(5000)}
