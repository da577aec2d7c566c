"""Blocks that come by tensor descriptors, as on sm_90 and later, give the same exact answers as those by pointers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from memcore_kernels import knn as knn_kernels
from memcore_kernels import memory_layout, plan, threshold_graph, tile_blocks, tiled_l2
from memcore_kernels.threshold_graph import DeviceGraphs

from memcore.backends import gpu_clique, reference
from tests.support.interpreter_check import watched
from tests.support.kernel_distances import black_and_white, check, random_images
from tests.support.kernel_graphs import limit, prompt
from tests.support.kernel_graphs import oracle as graph_oracle


@pytest.fixture(autouse=True)
def on_sm_90(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every launch is planned as for sm_90; the boxes of the descriptors that were made."""
    boxes: list[tuple[int, ...]] = []
    made: Callable[..., Any] = tile_blocks.descriptor

    def descriptor(*arguments: Any) -> Any:
        boxes.append(tuple((found := made(*arguments)).block_shape))
        return found

    for module in (tiled_l2, threshold_graph, knn_kernels):
        monkeypatch.setattr(module, "capability_of", lambda _: (9, 0))
        monkeypatch.setattr(module, "descriptor", descriptor)
    return boxes


@pytest.mark.parametrize(("n", "channels"), [(1, "first"), (2, "last"), (64, "first"), (129, "last")])
def test_numbers_of_images(n: int, channels: plan.Channels, on_sm_90: list[tuple[int, ...]]) -> None:
    shape = (2, 8, 128) if channels == "first" else (8, 128, 2)
    check(random_images(n, *shape), tile=(4, 64), channels=channels, seed=n)
    # Tiles of 256 bytes or 512: several to a program, 128 x 64 pairs of more than 64 images.
    block_k = 64 if channels == "first" else 128
    assert on_sm_90 == [(1, 64 if n <= 64 else 128, 1, 1, block_k), (1, 64, 1, 1, block_k)]


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 70), (130, 65)])
def test_two_sets(n: int, m: int, on_sm_90: list[tuple[int, ...]]) -> None:
    check(random_images(n, 4, 64, 3), random_images(m, 4, 64, 3), tile=(2, 64), seed=m)
    assert len(on_sm_90) == 2


@pytest.mark.parametrize(
    ("shape", "tile", "channels"),
    [
        ((1, 64, 1), (1, 64), "last"),  # one line
        ((6, 192, 1), (3, 64), "last"),
        ((4, 128, 4), (4, 16), "last"),  # lines of 64 bytes, 8 tiles
        ((3, 8, 128), (2, 128), "first"),
    ],
)
def test_shapes(
    shape: tuple[int, int, int],
    tile: tuple[int, int],
    channels: plan.Channels,
    on_sm_90: list[tuple[int, ...]],
) -> None:
    check(random_images(5, *shape), tile=tile, channels=channels)
    check(random_images(2, 3, *shape), random_images(2, 2, *shape), tile=tile, channels=channels, seed=1)
    assert len(on_sm_90) == 4


def test_tiles_that_share_a_program(on_sm_90: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(3, 8, 256, 1)
    for program_bytes, tiles in ((1, 1), (257, 2), (10_000, 8)):
        monkeypatch.setattr(plan, "PROGRAM_BYTES", program_bytes)
        assert plan.plan(images, None, (4, 64), "last", (9, 0))[1].tiles_per_program == tiles
        check(images, tile=(4, 64), seed=tiles)
    assert len(on_sm_90) == 6


def test_largest_ssd_of_the_papers_tile(on_sm_90: list[tuple[int, ...]]) -> None:
    """K = 49,152 in lines of 384: above int32."""
    images = black_and_white(128, 128, 3)
    with watched():
        answer = tiled_l2.tiled_l2_ssd(images, tile=(128, 128), channels="last")
    largest = 49152 * 255**2
    assert largest > 2**31
    assert answer.tolist() == [[0, largest], [largest, 0]]
    assert len(on_sm_90) == 2


def test_largest_ssd_of_two_sets(monkeypatch: pytest.MonkeyPatch, on_sm_90: list[tuple[int, ...]]) -> None:
    """K is split into 12 lines, a step each: the interpreter takes as long for a short line."""
    long_steps = plan.Config(16, 16, 4096, warps=4, stages=2, tma=True)
    monkeypatch.setattr(plan, "choose_config", lambda *_: long_steps)
    images = black_and_white(12, 4096, 1)
    check(images, images.flip(0), tile=(12, 4096))
    assert on_sm_90 == 2 * [(1, 16, 1, 1, 4096)]


@pytest.mark.parametrize("rows", [517, 9])
def test_segments_whose_last_block_is_not_there(
    rows: int, monkeypatch: pytest.MonkeyPatch, on_sm_90: list[tuple[int, ...]]
) -> None:
    """K = 517 lines of 128: two segments of 259 blocks, the last of which lies past the tile, and past the image's planes.

    Of two sets with shorter segments, 5 blocks and 4.
    """
    if rows == 9:
        monkeypatch.setattr(memory_layout, "MAX_SEGMENT_BYTES", 1000)
    images = black_and_white(rows, 128, 1)
    images[0] = random_images(rows, 128, 1)
    # What lies below the first tile would be read instead of zeros.
    whole = torch.cat([images, torch.full_like(images, 77)], dim=1)
    segment = plan.plan(whole, None, (rows, 128), "last", (9, 0))[1].constants["SEGMENT"]
    assert segment == (rows + 1) // 2 * 128
    check(whole, whole[1:] if rows == 9 else None, tile=(rows, 128))
    assert len(on_sm_90) == 2


@pytest.mark.parametrize("name", ["crop", "every second", "interleaved", "one image for all"])
def test_views_are_read_in_place(name: str, on_sm_90: list[tuple[int, ...]]) -> None:
    whole = random_images(4, 6, 3, 10, 160)
    view = {
        "crop": whole[:2, :, :, 1:9, 16:144],
        "every second": whole[::2, ::2, :, :8, :128],
        "interleaved": whole.movedim(2, -1).contiguous().movedim(-1, 2)[:2, ..., :8, :128],
        "one image for all": whole[:2, :1, :, :8, :128].expand(2, 3, 3, 8, 128),
    }[name]
    operands, _ = plan.plan(view, None, (4, 64), "first", (9, 0))
    assert operands[0].data_ptr() == view.data_ptr()
    check(view, tile=(4, 64), channels="first")
    # A stride of 0 is left to the pointers.
    assert len(on_sm_90) == (0 if name == "one image for all" else 2)


@pytest.mark.parametrize(("n", "capacity"), [(40, 64), (130, 140)])
def test_graphs(n: int, capacity: int, on_sm_90: list[tuple[int, ...]]) -> None:
    """Two prompts, so that a block that ends past the first one's images reads the second one's."""
    shape, tile = (4, 128, 1), (2, 64)
    images = prompt(np.random.default_rng(n), n, shape, min(n, 3))
    graphs = DeviceGraphs(2, capacity, shape, tile=tile, ssd_max=limit(128), device="cpu")
    for start in range(0, n, 70):
        batch = images[start : start + 70]
        with watched(start):
            graphs.extend(torch.cat([batch, batch]), [(0, 0, len(batch)), (1, len(batch), len(batch))])
    for slot in (0, 1):
        found = gpu_clique.unpack(graphs.bits[slot], capacity)
        assert torch.equal(found[:n, :n], graph_oracle(images, tile, graphs.ssd_max))
        assert not found[n:].any()
    pairs = 64 if capacity <= 64 else 128
    assert set(on_sm_90) == {(1, pairs, 1, 1, 64)}


@pytest.mark.parametrize(
    ("q", "n", "d", "k"), [(1, 1, 128, 1), (17, 200, 256, 7), (130, 70, 144, 33), (3, 300, 16, 100)]
)
def test_nearest_rows(q: int, n: int, d: int, k: int, on_sm_90: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(q + n)
    queries, corpus = (torch.from_numpy(rng.integers(0, 3, (m, d), dtype=np.uint8)) for m in (q, n))
    corpus[n // 2] = 255
    k = min(k, n)
    with watched(k):
        ssd, indices = knn_kernels.knn(queries, corpus, k)
    expected_ssd, expected_indices = reference.knn(queries.numpy(), corpus.numpy(), k)
    assert ssd.tolist() == expected_ssd.tolist()
    assert indices.tolist() == expected_indices.tolist()
    assert len(on_sm_90) == 2


def test_rows_that_the_copy_engine_cannot_read(on_sm_90: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    whole = torch.from_numpy(rng.integers(0, 256, (20, 300), dtype=np.uint8))
    for rows in (whole[:, :128], whole[:, 4:200]):  # 300 bytes apart; of 196 bytes
        with watched():
            ssd, indices = knn_kernels.knn(rows[:3], rows, 5)
        expected = reference.knn(rows[:3].numpy(), rows.numpy(), 5)
        assert (ssd.tolist(), indices.tolist()) == (expected[0].tolist(), expected[1].tolist())
    assert on_sm_90 == []
