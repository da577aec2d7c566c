"""PromptGraph against brute force: images arriving in any cuts, layouts and libraries, asked at any moment."""

from __future__ import annotations

import itertools
import os
import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import memcore
from memcore import _core, errors, isa
from memcore.types import Threshold
from tests.support import native_oracle as oracle

ISAS = memcore.isa.available()
THRESHOLD = 0.12


def near_images(n: int, side: int, seed: int, groups: int = 3) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    base = np.kron(rng.integers(0, 256, (groups, 8, 8, 3)), np.ones((1, side // 8, side // 8, 1)))
    noise = rng.normal(0, rng.uniform(1, 40, (n, 1, 1, 1)), (n, side, side, 3))
    return np.clip(base[rng.integers(0, groups, n)] + noise, 0, 255).astype(np.uint8)


def as_given(images: NDArray[np.uint8], how: str) -> object:
    if how == "torch":
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    return oracle.planar(images) if how == "planar" else images


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(
    side=st.sampled_from([16, 64]),  # tiles too small for bounds, and tiles with them
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    hows=st.lists(st.sampled_from(["numpy", "planar"]), min_size=6, max_size=6),
    asked=st.lists(st.booleans(), min_size=6, max_size=6),
    threads=st.sampled_from([1, 2]),
    torch_only=st.booleans(),
)
def test_equals_brute_force_however_images_arrive(
    isa: str,
    side: int,
    seed: int,
    cuts: list[int],
    hows: list[str],
    asked: list[bool],
    threads: int,
    torch_only: bool,
) -> None:
    n = sum(cuts)
    images = near_images(n, side, seed)
    given_images = images.copy()
    excluded = np.random.default_rng(seed).random(n) < 0.2
    ssd = oracle.tile_ssd(images, images, (side // 4, side // 4))
    limit = Threshold(THRESHOLD).ssd_max(side * side * 3 // 16)
    near = np.triu((ssd <= limit) & ~excluded[:, None] & ~excluded[None, :], 1)
    with memcore.isa.using(isa):
        graph = memcore.PromptGraph((side, side, 3), THRESHOLD, min_clique=2, threads=threads, capacity=3)
        start = 0
        for cut, how, ask in zip(cuts, hows, asked, strict=False):
            part = slice(start, start + cut)
            graph.extend(as_given(given_images[part], "torch" if torch_only else how), exclude=excluded[part])
            given_images[part] = 0  # the caller may use its memory again
            start += cut
            if ask:
                assert np.array_equal(graph.graph().edges, np.argwhere(near[:start, :start]))
        answer = graph.graph()
        assert np.array_equal(answer.edges, np.argwhere(near))
        assert np.array_equal(answer.ssd, ssd[near])
        assert answer.edges.dtype == np.int32
        assert answer.stats["excluded"] == excluded.sum()
        expected = memcore.max_clique(near | near.T)
        assert graph.clique_size() == (len(expected) if not excluded.all() else 0)
        for index in np.nonzero(~excluded)[0]:
            assert np.array_equal(graph.pixels(int(index)), images[index])
    oracle_graph = memcore.PromptGraph((side, side, 3), THRESHOLD, min_clique=2, backend="reference")
    for a, b in itertools.pairwise([0, n // 2, n]):
        if a != b:
            oracle_graph.extend(images[a:b], exclude=excluded[a:b])
            oracle_graph.graph()
    assert np.array_equal(oracle_graph.graph().edges, answer.edges)
    assert np.array_equal(oracle_graph.graph().ssd, answer.ssd)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(
    side=st.sampled_from([4, 16, 64]),  # tiles of one pixel, which have no bounds, and larger ones
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    asked=st.lists(st.booleans(), min_size=4, max_size=4),
    room=st.sampled_from([0, 2, 500]),
)
def test_images_that_are_read_again_give_the_same_graph(
    isa: str, side: int, seed: int, cuts: list[int], asked: list[bool], room: int
) -> None:
    n = sum(cuts)
    images = near_images(n, 64, seed)[:, :: 64 // side, :: 64 // side]
    excluded = np.random.default_rng(seed).random(n) < 0.2
    again: list[int] = []

    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        assert np.array_equal(indices, np.sort(indices))
        again.extend(indices.tolist())
        out[:] = images[indices]

    with memcore.isa.using(isa):
        kept = memcore.PromptGraph((side, side, 3), THRESHOLD, min_clique=2)
        given_room = np.empty((room, side, side, 3), np.uint8) if room else None
        graph = memcore.PromptGraph((side, side, 3), THRESHOLD, min_clique=2, reread=reread, room=given_room)
        for (a, b), ask in zip(itertools.pairwise(np.cumsum([0, *cuts])), asked, strict=False):
            passing = images[a:b].copy()
            kept.extend(passing, exclude=excluded[a:b])
            graph.extend(passing, exclude=excluded[a:b])
            passing[:] = 0
            if ask:
                assert np.array_equal(graph.graph().edges, kept.graph().edges)
        assert np.array_equal(graph.graph().edges, kept.graph().edges)
        assert graph.graph().ssd is not None
        assert np.array_equal(graph.graph().ssd, kept.graph().ssd)
        assert graph.findings() == kept.findings()
        assert len(again) == graph.graph().stats.get("read_again", 0)
        for index in np.nonzero(~excluded)[0]:
            assert np.array_equal(graph.pixels(int(index)), images[index])
        with pytest.raises(memcore.errors.ArgumentValueError, match="not a kept generation"):
            graph.pixels(n)
        assert len(again) == len(set(again)), "each is read again once"
        assert not excluded[again].any()


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(
    side=st.sampled_from([4, 16, 64]),
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    from_file=st.lists(st.booleans(), min_size=4, max_size=4),
    threads=st.sampled_from([1, 3]),
    missing=st.integers(0, 300),
)
def test_images_looked_at_where_they_are_read(
    isa: str, side: int, seed: int, cuts: list[int], from_file: list[bool], threads: int, missing: int
) -> None:
    """From a file or from memory, in any turns, constant ones in between, the file's last bytes missing."""
    n = sum(cuts)
    images = near_images(n, 64, seed)[:, :: 64 // side, :: 64 // side]
    flat = np.random.default_rng(seed).random(n) < 0.3
    images[flat] = images[flat][:, :1, :1]
    data = b"header" + images.tobytes()
    whole = max(0, len(data) - missing - 6) // (side * side * 3)

    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        out[:] = images[indices]

    with memcore.isa.using(isa), tempfile.TemporaryFile() as file:
        file.write(data[: max(0, len(data) - missing)])
        file.flush()
        kept = memcore.PromptGraph((side, side, 3), THRESHOLD, min_clique=2)
        if whole:
            kept.extend(images[:whole], exclude=flat[:whole])
        graph = memcore.PromptGraph(
            (side, side, 3), THRESHOLD, min_clique=2, reread=reread, threads=threads, capacity=5
        )
        for (a, b), direct in zip(itertools.pairwise(np.cumsum([0, *cuts])), from_file, strict=False):
            if direct:
                constant = graph.extend_from(file.fileno(), 6 + int(a) * side * side * 3, int(b - a))
                assert np.array_equal(constant, flat[a : min(b, whole)])
            elif a < whole:
                graph.extend(images[a : min(b, whole)], exclude=flat[a : min(b, whole)])
        assert (graph.n, graph.excluded) == (kept.n, kept.excluded)
        assert np.array_equal(graph.graph().edges, kept.graph().edges)
        assert np.array_equal(graph.graph().ssd, kept.graph().ssd)


def test_a_file_that_cannot_be_read() -> None:
    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        raise AssertionError

    graph = memcore.PromptGraph((16, 16, 3), reread=reread)
    with tempfile.TemporaryDirectory() as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(IsADirectoryError):
            graph.extend_from(descriptor, 0, 3)
        os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        graph.extend_from(descriptor, 0, 3)
    assert (graph.n, len(graph.graph())) == (0, 0)
    for bad in ((-1, 3), (0, 0)):
        with pytest.raises(memcore.errors.ArgumentValueError, match=r"offset|count"):
            graph.extend_from(0, *bad)
    for options in ({}, {"reread": reread, "backend": "reference"}):
        other = memcore.PromptGraph((16, 16, 3), **options)
        with pytest.raises(memcore.errors.ArgumentValueError, match="it needs reread and backend='cpu'"):
            other.extend_from(0, 0, 1)
    for size in ((1 << 33, 1 << 33, 1), (0, 16, 3)):
        with pytest.raises(ValueError, match=r"at most|at least"):
            _core.Features(4, 4).read(0, 0, 1, *size)


def test_an_image_that_changed_is_refused_and_other_troubles_pass() -> None:
    images = near_images(40, 64, 3, groups=1)
    now = images.copy()

    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        if 7 in indices and now[7, 0, 0, 0] == 99:
            raise OSError("no such disk")
        out[:] = now[indices]

    graph = memcore.PromptGraph((64, 64, 3), 0.2, min_clique=2, reread=reread)
    graph.extend(images)
    now[7, 5, 6, 1] ^= 1
    with pytest.raises(memcore.errors.ImagesChangedError, match="generation 7 is not the image that it was"):
        graph.graph()
    now[7] = 99
    with pytest.raises(OSError, match="no such disk"):
        graph.graph()
    now[7] = images[7]
    assert np.array_equal(graph.graph().edges, memcore.tiled_l2_graph(images, 0.2).edges)


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    "shape", [(12, 12, 3), (16, 8, 3), (20, 20, 1), (4, 4, 1), (4, 8, 2), (32, 32, 3), (64, 64, 1)]
)
def test_a_changed_image_of_any_size_is_refused(shape: tuple[int, int, int], from_file: bool) -> None:
    """A-D19: without bounds, as for small tiles, nothing of an image was kept to compare it with."""
    images = np.random.default_rng(3).integers(90, 120, (9, *shape), dtype=np.uint8)
    images[4] = 7  # constant: left out where a file is read
    now = images.copy()

    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        out[:] = now[indices]

    for at in (0, images[0].size // 2, images[0].size - 1):
        graph = memcore.PromptGraph(shape, 0.2, min_clique=2, reread=reread)
        if from_file:
            with tempfile.TemporaryFile() as file:
                file.write(images.tobytes())
                file.flush()
                graph.extend_from(file.fileno(), 0, len(images))
        else:
            graph.extend(images, exclude=np.arange(9) == 4)
        now[6].reshape(-1)[at] ^= 1
        with pytest.raises(memcore.errors.ImagesChangedError, match="generation 6 is not the image that"):
            graph.pixels(6)
        with pytest.raises(memcore.errors.ImagesChangedError, match="generation 6 is not the image that"):
            graph.graph()
        now[:] = images
        edges = memcore.tiled_l2_graph(np.delete(images, 4, 0), 0.2).edges
        assert np.array_equal(graph.graph().edges, edges + (edges >= 4))


def test_other_backends_keep_images() -> None:
    images = near_images(12, 16, 0)

    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        raise AssertionError("nothing is read again")

    graph = memcore.PromptGraph((16, 16, 3), backend="reference", reread=reread)
    graph.extend(images)
    assert np.array_equal(graph.graph().edges, memcore.tiled_l2_graph(images).edges)
    assert np.array_equal(graph.pixels(3), images[3])


def test_the_graph_is_made_once_until_images_arrive() -> None:
    graph = memcore.PromptGraph((16, 16, 3))
    assert len(graph.graph()) == 0
    assert graph.clique_size() == 0
    images = near_images(5, 16, 0, groups=1)
    graph.extend(images[:3])
    first = graph.graph()
    assert graph.graph() is first
    graph.extend(images[3:])
    assert graph.graph() is not first
    assert graph.graph().n == 5


def test_bounds_are_used_where_tiles_are_large() -> None:
    images = near_images(40, 64, 1)
    graph = memcore.PromptGraph((64, 64, 3), 0.05)
    graph.extend(images[:20])
    first = graph.graph().stats
    graph.extend(images[20:])
    stats = graph.graph().stats
    assert first["candidates"] < first["pairs"] == 190
    assert stats["pairs"] == 780
    assert first["candidates"] <= stats["candidates"] < 780
    assert stats["bounds_s"] > 0


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_features_copy_what_they_see(name: str, side: int, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, side, side, channels), dtype=np.uint8)
    sources = [images, oracle.planar(images), images[::-1], images[:, ::-1], np.repeat(images, 2, 1)[:, ::2]]
    with memcore.isa.using(name):
        for source in sources:
            for threads in (1, 3):
                copies = np.full(images.shape, 7, np.uint8)
                features = _core.Features(side // 4, side // 4)
                features.append(source, threads, copies)
                assert np.array_equal(copies, source)
                assert len(features) == 7


def test_candidates_are_checked() -> None:
    images = near_images(9, 16, 0)
    features = _core.Features(4, 4)
    with pytest.raises(ValueError, match="beyond"):
        features.first_mismatch(images[:1], np.array([0]))
    features.append(images)
    candidates = features.screen(1 << 30)
    assert candidates.images.tolist() == list(range(9))
    places = np.arange(9, dtype=np.uint32)
    edges, _, _ = features.decide(candidates, images, places)
    assert len(edges) == 36
    assert features.first_mismatch(images[[4, 2, 5]], np.array([4, 2, 4])) == 2
    assert features.first_mismatch(images, np.arange(9)) == 9
    for bad_images, bad_places, text in (
        (images, places[:8], "one number an image"),
        (images[:8], places, "beyond"),
        (images[:, :8], places, "another shape"),
        (images[0], places, "shape"),
    ):
        with pytest.raises(ValueError, match=text):
            features.decide(candidates, bad_images, bad_places)
    for bad in (np.array([9]), np.array([-1]), np.array([0, 1])):
        with pytest.raises(ValueError, match=r"beyond|one number"):
            features.first_mismatch(images[:1], bad)
    features.append(images)
    with pytest.raises(ValueError, match="another number of images"):
        features.decide(candidates, images, places)
    assert _core.Features(4, 4).screen(5).images.tolist() == []


def test_copies_are_checked() -> None:
    images = np.zeros((3, 16, 16, 3), np.uint8)
    read_only = images.copy()
    read_only.flags.writeable = False
    bad = [
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((3, 16, 32, 3), np.uint8)[:, :, ::2],
        images[0],
        read_only,
    ]
    for copies in bad:
        features = _core.Features(4, 4)
        with pytest.raises(ValueError, match=r"cop|writeable"):
            features.append(images, 1, copies)
        assert len(features) == 0
    with pytest.raises(TypeError):
        _core.Features(4, 4).append(images, 1, images.astype(np.int8))


@pytest.mark.parametrize("name", isa.available())
@pytest.mark.parametrize("shape", [(16, 16, 3), (384, 256, 3), (384, 260, 3), (640, 640, 1)])
def test_images_one_by_one_are_those_of_a_batch(name: str, shape: tuple[int, int, int]) -> None:
    """In place or copied, past the cache or not, with constant ones between."""
    rng = np.random.default_rng(shape)
    images = rng.integers(0, 256, (9, *shape), dtype=np.uint8)
    images[[3, 5]] = images[1] // 2 + 3
    images[2], images[7] = 9, 200
    with isa.using(name):
        together = memcore.PromptGraph(shape, 0.1, threads=1)
        together.extend(images, exclude=np.array([i in (2, 7) for i in range(9)]))
        alone = memcore.PromptGraph(shape, 0.1, threads=1, capacity=3)
        for i, image in enumerate(images):
            place = alone.place()
            assert place is not None
            if i % 2:
                place[:] = image
            assert alone.extend_one(place if i % 2 else image) == (i not in (2, 7))
        assert (alone.n, alone.excluded) == (9, 2)
        assert np.array_equal(alone.images(), together.images())
        assert [tuple(e) for e in alone.graph().edges.tolist()] == [(3, 5)]
        assert np.array_equal(np.asarray(alone.graph().ssd), np.asarray(together.graph().ssd))
        # They go together: what was a place is none after others were added.
        stale = alone.place()
        assert stale is not None
        stale[:] = images[0]
        alone.extend(images[4:6])
        assert alone.extend_one(stale.copy())
        assert np.array_equal(alone.pixels(11), images[4])
        assert np.array_equal(alone.pixels(9), images[4])


def test_one_by_one_refuses_what_a_batch_would() -> None:
    graph = memcore.PromptGraph((8, 8, 3))
    for image in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((9, 8, 3), np.uint8)):
        with pytest.raises(errors.ArgumentValueError, match=r"image must be uint8 of shape \(8, 8, 3\)"):
            graph.extend_one(image)
    assert (graph.n, len(graph.images())) == (0, 0)
    elsewhere = memcore.PromptGraph((8, 8, 3), backend="reference")
    assert elsewhere.place() is None
    with pytest.raises(errors.ArgumentValueError, match="keeps images on the CPU"):
        elsewhere.extend_one(np.zeros((8, 8, 3), np.uint8))
