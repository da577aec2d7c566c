"""The tiled l2 kernels equal the int64 oracle, in any order of programs, without a stray access or a race."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from memcore_kernels import memory_layout, plan, tiled_l2_ssd
from memcore_kernels import tiled_l2 as kernel
from memcore_kernels.plan import Channels
from memcore_kernels.tiled_l2 import _triangle
from torch.utils._python_dispatch import TorchDispatchMode

from memcore.backends import gpu, reference
from tests.support.interpreter_check import watched
from tests.support.kernel_distances import black_and_white, check, oracle, random_images


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_numbers_of_images(n: int) -> None:
    check(random_images(n, 8, 8, 3), tile=(4, 4), seed=n)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 70), (70, 3), (65, 129)])
def test_two_sets(n: int, m: int) -> None:
    check(random_images(n, 8, 8, 3), random_images(m, 8, 8, 3), tile=(8, 4), seed=m)


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("channel_count", [1, 3, 4])
@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((16, 16), (16, 16)),  # one tile
        ((16, 32), (8, 16)),
        ((12, 20), (4, 5)),  # lines of 5, 15 or 20 bytes: alignment 1 and 4
        ((10, 6), (2, 3)),
        ((7, 11), (7, 11)),  # nothing divides anything
        ((8, 32), (1, 32)),  # tiles of one row
        ((9, 48), (9, 16)),
    ],
)
def test_shapes_and_tails(
    size: tuple[int, int], tile: tuple[int, int], channel_count: int, channels: Channels
) -> None:
    shape = (3, channel_count, *size) if channels == "first" else (3, *size, channel_count)
    check(random_images(*shape), tile=tile, channels=channels, seed=channel_count)


class Made(TorchDispatchMode):
    """Bytes of each tensor that an operator of torch made, views apart."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if isinstance(answer, torch.Tensor) and not func.is_view and not func._schema.is_mutable:
            self.sizes.append(answer.nbytes)
        return answer


@pytest.mark.parametrize("rows", [1, 17, 64])
def test_a_large_answer_is_mirrored_in_parts(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the kernel's sums, 4 bytes a pair, and the answer's 8, there is no more memory than for a part."""
    images = random_images(65, 8, 8, 3)
    most = 8 * 65 * rows
    monkeypatch.setattr(kernel, "PART_BYTES", most)
    with Made() as made:
        answer = tiled_l2_ssd(images, tile=(4, 4), channels="last")
    assert torch.equal(answer, oracle(images, None, (4, 4), "last"))
    large = sorted(size for size in made.sizes if size > most)
    assert answer.nbytes in large
    norms = 4 * 4 * 128
    assert sum(large) <= answer.nbytes + 4 * 128 * 128 + norms


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", ["first", "last"])
def test_batches(batch: int, channels: Channels) -> None:
    shape = (3, 16, 16) if channels == "first" else (16, 16, 3)
    check(random_images(batch, 4, *shape), tile=(8, 8), channels=channels, seed=batch)
    check(random_images(batch, 2, *shape), random_images(batch, 5, *shape), tile=(16, 8), channels=channels)


@pytest.mark.parametrize(
    "name", ["batches and images", "crop", "odd crop", "planes outside", "interleaved", "one image for all"]
)
def test_views_are_read_in_place(name: str) -> None:
    whole = random_images(4, 6, 3, 20, 36)
    view = {
        "batches and images": whole[::2, ::2, :, :16, :32],
        "crop": whole[:2, :, :, 2:18, 4:36],
        "odd crop": whole[:2, :, :, 1:17, 3:35],
        "planes outside": whole.permute(2, 0, 1, 3, 4).contiguous().permute(1, 2, 0, 3, 4)[:2, ..., :16, :32],
        "interleaved": whole.movedim(2, -1).contiguous().movedim(-1, 2)[:2, ..., :16, :32],
        "one image for all": whole[:2, :1, :, :16, :32].expand(2, 3, 3, 16, 32),
    }[name]
    operands, _ = plan.plan(view, None, (8, 16), "first")
    assert operands[0].data_ptr() == view.data_ptr()
    check(view, tile=(8, 16), channels="first")


def test_operands_in_different_memory_formats() -> None:
    a = random_images(3, 3, 16, 16)
    b = random_images(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    every_second_column = random_images(2, 3, 16, 32)[..., ::2]
    check(a, b, tile=(4, 4), channels="first")
    check(b, a, tile=(4, 4), channels="first")
    check(b, b.clone(memory_format=torch.preserve_format), tile=(4, 4), channels="first")
    check(every_second_column, tile=(4, 4), channels="first")


def test_tiles_shared_out_among_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(5, 12, 12, 1)
    for program_bytes, tiles in ((1, 1), (17, 2), (16 * 9, 9), (10_000, 9)):
        monkeypatch.setattr(plan, "PROGRAM_BYTES", program_bytes)
        _, launch = plan.plan(images, None, (4, 4), "last")
        assert launch.tiles_per_program == tiles
        assert launch.programs == -(-9 // tiles)
        check(images, tile=(4, 4), seed=program_bytes)


@pytest.fixture
def long_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes as long for a short step as for a long one: 1,024 bytes a step, 16 x 16 pairs."""
    monkeypatch.setattr(plan, "choose_config", lambda *_: plan.Config(16, 16, 1024, warps=4, stages=2))


@pytest.fixture
def longer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 bytes a step."""
    monkeypatch.setattr(plan, "choose_config", lambda *_: plan.Config(16, 16, 4096, warps=4, stages=2))


@pytest.mark.usefixtures("longer_steps")
def test_largest_ssd_of_the_papers_tile() -> None:
    """K = 49,152: the ssd 3,196,108,800 exceeds int32 and fits uint32."""
    images = black_and_white(128, 128, 3)
    with watched():
        answer = tiled_l2_ssd(images, tile=(128, 128), channels="last")
    assert 49152 * 255**2 > 2**31
    assert answer.tolist() == [[0, 49152 * 255**2], [49152 * 255**2, 0]]


@pytest.mark.usefixtures("long_steps")
@pytest.mark.parametrize("rows", [22017, 22018])
def test_both_sides_of_the_uint32_limit(rows: int) -> None:
    """K = 66,051 is the last tile of one segment; 66,054 is read in two, and summed in 64 bits."""
    images = black_and_white(1, rows, 3)
    _, launch = plan.plan(images, None, (1, rows), "last")
    assert launch.narrow == (rows == 22017)
    check(images, tile=(1, rows))


@pytest.mark.usefixtures("longer_steps")
def test_wide_tiles() -> None:
    """256 x 256 x 3 = 196,608 bytes, three segments; and odd lines, where the last of two is not full."""
    images = torch.cat([black_and_white(256, 256, 3), random_images(1, 256, 256, 3)])
    check(images, tile=(256, 256))
    check(random_images(2, 3, 127, 203), black_and_white(3, 127, 203), tile=(127, 203), channels="first")


def test_nothing_in_nothing_out() -> None:
    assert tiled_l2_ssd(random_images(0, 8, 8, 3), tile=(4, 4), channels="last").shape == (0, 0)
    two = random_images(2, 8, 8, 3)
    assert tiled_l2_ssd(two, two[:0], tile=(4, 4), channels="last").shape == (2, 0)
    assert tiled_l2_ssd(two[None][:0], tile=(4, 4), channels="last").shape == (0, 2, 2)


@triton.jit
def triangle_kernel(row_ptr, column_ptr, blocks):
    pid = tl.program_id(0)
    row, column = _triangle(pid, blocks)
    tl.store(row_ptr + pid, row)
    tl.store(column_ptr + pid, column)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 7, 8, 15])
def test_the_upper_triangle_is_covered_once(blocks: int) -> None:
    count = blocks * (blocks + 1) // 2
    rows, columns = torch.empty(2, count, dtype=torch.int32)
    with watched():
        triangle_kernel[(count,)](rows, columns, blocks)
    found = sorted(zip(rows.tolist(), columns.tolist(), strict=True))
    assert found == [(i, j) for i in range(blocks) for j in range(i, blocks)]


def test_segments_stay_exact() -> None:
    for block_k in (32, 64, 128):
        for tile_bytes in [1, 100, 49152, 66048, 66051, 66052, 132_102, 196_608, 3_000_000, 2**24 + 1]:
            size, count = memory_layout.segments(tile_bytes, block_k)
            assert size % block_k == 0
            assert size * count >= tile_bytes > size * (count - 1)
            assert min(size, tile_bytes) * 255**2 < 2**32
            assert size * 128**2 < 2**31


def test_the_gpu_backend_equals_the_oracle() -> None:
    """memcore.backends.gpu on the interpreter: distances of a batch, and the graph of one prompt."""
    images = random_images(2, 9, 16, 16, 3)
    images[0, 3:7] = images[0, 3]
    images[0, 4, 0, 0] ^= 1
    for other in (None, images[:, :4]):
        ssd = gpu.tiled_l2_ssd(images, other, (4, 8))
        assert torch.equal(ssd, oracle(images, other, (4, 8), "last"))
    edges, ssd = gpu.tiled_l2_graph(images[0], (4, 4), 3)
    expected_edges, expected_ssd = reference.tiled_l2_graph(images[0].numpy(), (4, 4), 3)
    assert len(edges) == 6
    assert np.array_equal(edges, expected_edges)
    assert edges.dtype == np.int32
    assert np.array_equal(ssd, expected_ssd)
