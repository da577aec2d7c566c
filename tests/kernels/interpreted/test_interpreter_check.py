"""The checker itself: planted faults are caught, sound kernels pass."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from tests.support.interpreter_check import watched


@triton.jit
def copy_kernel(source_ptr, target_ptr, n, BLOCK: tl.constexpr, MASKED: tl.constexpr, SHIFT: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if MASKED:
        tl.store(
            target_ptr + index, tl.load(source_ptr + index + SHIFT, mask=index < n, other=0), mask=index < n
        )
    else:
        tl.store(target_ptr + index, tl.load(source_ptr + index + SHIFT))


@triton.jit
def overlap_kernel(target_ptr, STRIDE: tl.constexpr, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    tl.store(target_ptr + pid * STRIDE + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.int32) + pid)


@triton.jit
def lanes_kernel(target_ptr, BLOCK: tl.constexpr):
    tl.store(target_ptr + tl.arange(0, BLOCK) // 2, tl.arange(0, BLOCK))


@triton.jit
def neighbour_kernel(target_ptr):
    pid = tl.program_id(0)
    tl.store(target_ptr + pid, tl.load(target_ptr + pid + 1) + 1)


@triton.jit
def add_kernel(total_ptr, PLAIN: tl.constexpr):
    if PLAIN:
        tl.store(total_ptr, tl.load(total_ptr) + 1)
    else:
        tl.atomic_add(total_ptr, 1)


@triton.jit
def ticket_kernel(counter_ptr, order_ptr):
    tl.store(order_ptr + tl.atomic_add(counter_ptr, 1), tl.program_id(0))


def int32(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.int32)


def test_sound_kernels_pass() -> None:
    source, target, total = int32(10), torch.zeros(10, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    with watched():
        copy_kernel[(3,)](source, target, 10, BLOCK=4, MASKED=True, SHIFT=0)
        overlap_kernel[(3,)](torch.zeros(12, dtype=torch.int32), STRIDE=4, BLOCK=4)
        add_kernel[(5,)](total, PLAIN=False)
    assert torch.equal(source, target)
    assert total.item() == 5


@pytest.mark.parametrize(("masked", "shift"), [(False, 0), (True, 1), (True, -1)])
def test_out_of_bounds_is_caught(masked: bool, shift: int) -> None:
    with watched(), pytest.raises(triton.TritonError, match="OutOfBounds"):
        copy_kernel[(3,)](int32(10), int32(10), 10, BLOCK=4, MASKED=masked, SHIFT=shift)


def test_the_gap_of_a_view_is_out_of_bounds() -> None:
    rows = torch.zeros(4, 8, dtype=torch.int32)
    with watched(), pytest.raises(triton.TritonError, match="OutOfBounds"):
        copy_kernel[(4,)](rows[:, :4], int32(16), 16, BLOCK=4, MASKED=True, SHIFT=0)
    with watched():
        copy_kernel[(8,)](rows, int32(32), 32, BLOCK=4, MASKED=True, SHIFT=0)


def test_misaligned_access_is_caught() -> None:
    odd = torch.zeros(41, dtype=torch.uint8)[1:]
    assert odd.data_ptr() % 4
    with watched(), pytest.raises(triton.TritonError, match="misaligned"):
        overlap_kernel[(1,)](triton.reinterpret(odd, tl.int32), STRIDE=4, BLOCK=4)


def test_races_are_caught() -> None:
    with watched(), pytest.raises(triton.TritonError, match="Race"):
        overlap_kernel[(3,)](int32(12), STRIDE=3, BLOCK=4)
    with watched(), pytest.raises(triton.TritonError, match="two lanes"):
        lanes_kernel[(1,)](int32(4), BLOCK=4)
    with watched(), pytest.raises(triton.TritonError, match="Race"):
        neighbour_kernel[(3,)](int32(4))
    with watched(), pytest.raises(triton.TritonError, match="Race"):
        add_kernel[(3,)](int32(1), PLAIN=True)


def test_the_order_of_the_grid_is_shuffled_and_complete() -> None:
    orders = []
    for seed in range(3):
        order = torch.full((16,), -1, dtype=torch.int32)
        with watched(seed):
            ticket_kernel[(16,)](torch.zeros(1, dtype=torch.int32), order)
        assert sorted(order.tolist()) == list(range(16))
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2]


def test_the_interpreter_is_left_as_it_was() -> None:
    order = torch.full((8,), -1, dtype=torch.int32)
    ticket_kernel[(8,)](torch.zeros(1, dtype=torch.int32), order)
    assert order.tolist() == list(range(8))
