"""PromptGraph against brute force: images arriving in any cuts, layouts and libraries, asked at any moment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import memcore
from memcore import _core
from memcore.types import Threshold
from tests import native_oracle as oracle

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
