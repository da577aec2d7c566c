"""The pruned graph of the native core against brute force: the same edges and the same ssd, whatever the bounds do."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcore import _core, isa
from tests.support import native_oracle as oracle

pytestmark = pytest.mark.parametrize("name", oracle.ISAS)

KINDS = ["noise", "flat", "smooth", "near", "clusters", "two_levels"]


def make_images(kind: str, n: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Sets that let the bounds decide nearly all, some, or none of the pairs."""
    rng = np.random.default_rng(seed)
    h, w, c = shape
    if kind == "noise":
        return rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    if kind == "flat":
        return np.broadcast_to(rng.integers(0, 256, (n, 1, 1, c), dtype=np.uint8), (n, *shape)).copy()
    if kind == "two_levels":
        return np.where(rng.random((n, 1, 1, 1)) < 0.5, 0, 255).astype(np.uint8) * np.ones(shape, np.uint8)
    y, x = np.mgrid[0:h, 0:w]
    phase = rng.random((n, 1, 1, c)) * 6
    waves = np.sin(
        phase + (y[..., None] * rng.random((n, 1, 1, c)) + x[..., None] * rng.random((n, 1, 1, c))) / 3
    )
    smooth = 127 + 120 * waves
    if kind == "smooth":
        return smooth.astype(np.uint8)
    groups = rng.integers(0, 1 if kind == "near" else max(1, n // 5), n)
    noise = rng.normal(0, rng.uniform(1, 40, (n, 1, 1, 1)), (n, *shape))
    return np.clip(smooth[groups] + noise, 0, 255).astype(np.uint8)


def check(
    images: np.ndarray, tile: tuple[int, int], ssd_max: int, ssd: np.ndarray, threads: int = 1, **more
) -> dict:
    edges, values, stats = _core.tiled_l2_graph(images, *tile, ssd_max, threads, **more)
    expected_edges, expected_ssd = oracle.edges(ssd, ssd_max)
    assert edges.dtype == np.int32
    assert values.dtype == oracle.ssd_dtype(tile[0] * tile[1] * images.shape[-1])
    assert np.array_equal(edges, expected_edges)
    assert np.array_equal(values, expected_ssd)
    alone, nothing, _ = _core.tiled_l2_graph(images, *tile, ssd_max, threads, sums=False, **more)
    assert np.array_equal(alone, expected_edges), "edges without their sums"
    assert not nothing.any()
    return stats


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_equals_brute_force_on_both_sides_of_each_threshold(name: str, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    n = data.draw(st.integers(1, 60))
    th, tw = data.draw(st.sampled_from([(16, 16), (8, 40), (17, 19), (32, 32), (33, 47), (5, 64), (9, 9)]))
    grid = data.draw(st.sampled_from([(1, 1), (2, 2), (1, 3), (4, 4), (5, 4)]))
    channels = data.draw(st.sampled_from([1, 3, 4]))
    images = make_images(kind, n, (th * grid[0], tw * grid[1], channels), data.draw(st.integers(0, 2**31)))
    ssd = oracle.tile_ssd(images, images, (th, tw))
    pairs = np.sort(ssd[np.triu_indices(n, 1)])
    # Thresholds that are exactly some pair's ssd, and one unit below: that pair is an edge, and is not.
    chosen = [0, th * tw * channels * 255**2]
    if len(pairs):
        chosen += [int(pairs[data.draw(st.integers(0, len(pairs) - 1))]) for _ in range(2)]
    if data.draw(st.booleans()):
        images = oracle.planar(images)
    threads = data.draw(st.sampled_from([1, 2]))
    with isa.using(name):
        for ssd_max in chosen:
            for limit in {ssd_max, max(0, ssd_max - 1)}:
                check(images, (th, tw), limit, ssd, threads)


@pytest.mark.parametrize("kind", KINDS)
def test_sets_large_enough_to_be_sampled(name: str, kind: str) -> None:
    images = make_images(kind, 90, (64, 64, 3), 1)
    ssd = oracle.tile_ssd(images, images, (32, 32))
    with isa.using(name):
        for threshold in (0.02, 0.1, 0.15, 0.4):
            check(images, (32, 32), int(threshold**2 * 255**2 * 32 * 32 * 3), ssd, 2)


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_small_images_of_which_some_are_looked_at_first(name: str, kind: str, size: int) -> None:
    images = make_images(kind, 270, (size, size, 3), 2)
    tile = (size // 4, size // 4)
    ssd = oracle.tile_ssd(images, images, tile)
    with isa.using(name):
        for threshold in (0.05, 0.15, 0.3):
            ssd_max = int(threshold**2 * 255**2 * tile[0] * tile[1] * 3)
            stats = check(images, tile, ssd_max, ssd, 2)
            if name.startswith(
                ("avx", "amx")
            ):  # elsewhere distances take so long that features are always taken
                assert stats["features_images"] == (64 if stats["dense"] else 270)
            expected = core_edges(oracle.edges(ssd, ssd_max)[0], 270, 19)
            cliques, _, _ = _core.tiled_l2_graph(images, *tile, ssd_max, 1, min_clique=20)
            assert [tuple(e) for e in cliques.tolist()] == sorted(expected)


@pytest.mark.parametrize("width", [1, 5, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 95])
def test_pairs_one_by_one_with_lines_of_any_length(name: str, width: int) -> None:
    images = np.random.default_rng(width).integers(0, 256, (4, 6, 2 * width, 1), dtype=np.uint8)
    images[1], images[2] = 0, 255
    out = np.zeros((1, 4, 4), np.uint32)
    with isa.using(name):  # so few are never packed
        _core.tiled_l2_ssd(images, None, 3, width, out, 1)
    assert np.array_equal(out[0], oracle.tile_ssd(images, images, (3, width)))


@pytest.mark.parametrize("noise", [0, 3, 20])
def test_edges_alone_by_pivots_and_upper_bounds(name: str, noise: int) -> None:
    """Copies of one image and others: a distance to one of them decides most pairs; constant images need no pixels."""
    rng = np.random.default_rng(noise)
    images = rng.integers(0, 256, (300, 64, 64, 3), dtype=np.uint8)
    copies = rng.permutation(300)[:200]
    levels = rng.integers(-noise, noise + 1, (200, 64, 64, 3))
    images[copies] = np.clip(images[0].astype(int) + levels, 0, 255)
    images[-3:] = [[[[10]]], [[[12]]], [[[200]]]]
    ssd = oracle.tile_ssd(images, images, (16, 16))
    among = np.sort(ssd[np.ix_(copies, copies)][np.triu_indices(200, 1)])
    with isa.using(name):
        # All copies, half of them, and on both sides of one pair's distance.
        middle = int(among[len(among) // 2])
        for ssd_max in (int(among[-1]), middle, max(0, middle - 1), int(4 * among[-1]) + 3000):
            check(images, (16, 16), ssd_max, ssd, 2)
        far = int(4 * among[-1]) + 3000  # every pair of copies is proven by the distances to a third one
        features = _core.Features(16, 16)
        features.append(images)
        edges, _, stats = _core.tiled_l2_graph(images, 16, 16, far, 1, features=features, sums=False)
        # Where all distances take next to no time, bounds are not asked.
        assert stats["dense"] == (name in {"avx512vnni", "amxint8"})
        if not stats["dense"]:
            assert stats["certain"] >= 1
            assert stats["certain"] + stats["by_pivots"] >= 200 * 199 // 2
            assert len(edges) >= 200 * 199 // 2 + 1


def test_thresholds_at_the_ends(name: str) -> None:
    images = make_images("clusters", 20, (32, 32, 3), 3)
    ssd = oracle.tile_ssd(images, images, (16, 16))
    with isa.using(name):
        check(images, (16, 16), 2**64 - 1, ssd)
        check(np.concatenate([images, images]), (16, 16), 0, np.tile(ssd, (2, 2)))
        with pytest.raises(TypeError):
            _core.tiled_l2_graph(images, 16, 16, 2**64)
        with pytest.raises(TypeError):
            _core.tiled_l2_graph(images, 16, 16, -1)


def test_tiles_beyond_32_bits(name: str) -> None:
    images = make_images("clusters", 12, (160, 160, 3), 4)
    images[0], images[1] = 0, 255
    ssd = oracle.tile_ssd(images, images, (160, 160))
    with isa.using(name):
        for ssd_max in (10**7, 10**9, int(ssd[0, 1]) - 1, int(ssd[0, 1])):
            check(images, (160, 160), ssd_max, ssd)


def core_edges(edges: np.ndarray, n: int, degree: int) -> set[tuple[int, int]]:
    left = {tuple(e) for e in edges.tolist()}
    while True:
        degrees = np.bincount(np.array(sorted(left), dtype=int).reshape(-1, 2).ravel(), minlength=n)
        kept = {(i, j) for i, j in left if degrees[i] >= degree and degrees[j] >= degree}
        if kept == left:
            return left
        left = kept


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 60), k=st.integers(3, 10), seed=st.integers(0, 2**31))
def test_min_clique_leaves_the_core_and_only_the_core(name: str, n: int, k: int, seed: int) -> None:
    images = make_images("clusters", n, (32, 32, 3), seed)
    ssd = oracle.tile_ssd(images, images, (16, 16))
    ssd_max = int(0.12**2 * 255**2 * 768)
    with isa.using(name):
        edges, values, _ = _core.tiled_l2_graph(images, 16, 16, ssd_max, 1, min_clique=k)
    expected = core_edges(oracle.edges(ssd, ssd_max)[0], n, k - 1)
    assert [tuple(e) for e in edges.tolist()] == sorted(expected)
    assert np.array_equal(values, ssd[edges[:, 0], edges[:, 1]])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 50), cut=st.integers(0, 50), seed=st.integers(0, 2**31), swap=st.booleans())
def test_features_taken_as_images_arrive(name: str, n: int, cut: int, seed: int, swap: bool) -> None:
    images = make_images("clusters", n, (32, 64, 3), seed)
    ssd = oracle.tile_ssd(images, images, (16, 16))
    ssd_max = int(0.12**2 * 255**2 * 768)
    cut = min(cut, n)
    with isa.using(name):
        features = _core.Features(16, 16)
        for begin, end in [(0, cut), (cut, cut), (cut, n)]:
            part = images[begin:end]
            features.append(oracle.planar(part) if swap else part)
        assert len(features) == n
        check(images, (16, 16), ssd_max, ssd, features=features)
        # Only pairs with at least one new image, as a prompt grows.
        edges, values, _ = _core.tiled_l2_graph(images, 16, 16, ssd_max, 1, features=features, since=cut)
        expected, expected_ssd = oracle.edges(ssd, ssd_max)
        new = expected[:, 1] >= cut
        assert np.array_equal(edges, expected[new])
        assert np.array_equal(values, expected_ssd[new])


def test_features_of_other_images_are_refused(name: str) -> None:
    images = make_images("noise", 10, (32, 32, 3), 0)
    with isa.using(name):
        features = _core.Features(16, 16)
        features.append(images)
        with pytest.raises(ValueError, match="number"):
            _core.tiled_l2_graph(images[:9], 16, 16, 5, features=features)
        with pytest.raises(ValueError, match="shape"):
            _core.tiled_l2_graph(images, 32, 32, 5, features=features)
        with pytest.raises(ValueError, match="shape"):
            features.append(images[:, :, :16])
        with pytest.raises(ValueError, match="since"):
            _core.tiled_l2_graph(images, 16, 16, 5, features=features, since=2, min_clique=4)


def test_stats_say_what_was_done(name: str) -> None:
    images = make_images("clusters", 70, (64, 64, 3), 2)
    with isa.using(name):
        _, _, stats = _core.tiled_l2_graph(images, 16, 16, int(0.1**2 * 255**2 * 768), 1)
    assert stats["pairs"] == 70 * 69 // 2
    assert stats["pairs"] >= stats["candidates"] >= stats["core"]
    assert all(stats[k] >= 0 for k in ("features_s", "bounds_s", "verify_s"))


def test_many_python_threads_at_once(name: str) -> None:
    images = make_images("clusters", 40, (32, 32, 3), 5)
    ssd = oracle.tile_ssd(images, images, (16, 16))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with isa.using(name):
                for _ in range(5):
                    check(images, (16, 16), int(0.12**2 * 255**2 * 768), ssd, 2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_growing_set_that_is_all_alike(name: str) -> None:
    """What no bound decides: each batch is compared by the dense kernel, with those before and with itself, once."""
    images = make_images("near", 90, (64, 64, 3), 6)
    ssd = oracle.tile_ssd(images, images, (16, 16))
    pairs = np.sort(ssd[np.triu_indices(90, 1)])
    for ssd_max in (int(pairs[len(pairs) // 2]), int(pairs[-1])):
        expected, expected_ssd = oracle.edges(ssd, ssd_max)
        with isa.using(name):
            features = _core.Features(16, 16)
            since = 0
            for end in (1, 9, 40, 89, 90):
                features.append(images[since:end])
                edges, values, stats = _core.tiled_l2_graph(
                    images[:end], 16, 16, ssd_max, 1, features=features, since=since
                )
                asked = (expected[:, 1] >= since) & (expected[:, 1] < end)
                assert np.array_equal(edges, expected[asked])
                assert np.array_equal(values, expected_ssd[asked])
                since = end
        assert stats["pairs"] == 89


@pytest.mark.parametrize(("th", "tw"), [(4, 16), (7, 16), (64, 128), (128, 128), (5, 32), (12, 48), (16, 64)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sums_of_blocks_of_many_widths(name: str, th: int, tw: int, channels: int) -> None:
    """Images that are flat in each block have no residual, and the bounds are the distances: no pair too many is left."""
    side = 8 if th >= 32 else 4 if th >= 16 else 2 if th >= 8 else 1
    blocks = np.random.default_rng(0).integers(0, 256, (20, 2 * side, 3 * side, channels), dtype=np.uint8)
    images = np.repeat(np.repeat(blocks, th // side, axis=1), tw // side, axis=2)
    ssd = oracle.tile_ssd(images, images, (th, tw))
    values = np.unique(ssd[np.triu_indices(20, 1)])
    with isa.using(name):
        features = _core.Features(th, tw)
        features.append(images)
        for at in range(0, len(values) - 1, 9):
            ssd_max = int(values[at] + values[at + 1]) // 2
            stats = check(images, (th, tw), ssd_max, ssd, features=features)
            assert stats["candidates"] <= np.triu(ssd <= 1.002 * ssd_max, 1).sum(), "but for rounding"
