"""Arrays whose values are not in memory, and answers that no memory holds, are refused with memcore's own errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import memcore
from memcore.backends import gpu
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError


def _freed(dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor whose storage was freed, as sharded training does between steps."""
    x = torch.zeros((4, 3, 8, 8), dtype=dtype)
    x.untyped_storage().resize_(0)
    return x


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "function",
    [memcore.pairwise_tiled_l2, memcore.tiled_l2_graph, memcore.to_uint8],
    ids=lambda f: f.__name__,
)
def test_a_tensor_whose_storage_was_freed(function: Callable[[Any], Any], dtype: torch.dtype) -> None:
    if function is memcore.to_uint8 and dtype is torch.uint8:
        return  # it is given back as it is
    with pytest.raises(
        DeviceError, match=r"images must have its values in memory, got .* storage has 0 bytes"
    ):
        function(_freed(dtype))


def test_a_view_within_its_storage_is_read() -> None:
    x = torch.arange(4 * 3 * 8 * 8, dtype=torch.uint8).reshape(4, 3, 8, 8)
    found = memcore.pairwise_tiled_l2(x[1:3, :, ::2, 1::2], grid=(2, 2))
    plain = x[1:3, :, ::2, 1::2].contiguous()
    assert torch.equal(found, memcore.pairwise_tiled_l2(plain, grid=(2, 2)))


class _OnCuda:
    """An array that another library holds on a CUDA device."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **named: Any) -> Any:
        raise BufferError("never asked")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch can read the device")
def test_an_array_on_cuda_where_torch_has_none() -> None:
    with pytest.raises(ArgumentTypeError, match="images cannot be read by torch over DLPack"):
        memcore.pairwise_tiled_l2(_OnCuda())


def _huge(*shape: int, dtype: Any = np.uint8) -> Any:
    return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, [0] * len(shape))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (
            lambda: memcore.pairwise_tiled_l2(np.zeros((2**24, 1, 1, 1), np.uint8), grid=(1, 1)),
            "tiled_l2_graph",
        ),
        (lambda: memcore.pairwise_tiled_l2(_huge(2**40, 4, 4, 3)), "images must be in C order"),
        (lambda: memcore.knn(_huge(2, 2**44), np.zeros((3, 5), np.uint8), 1), "queries must be in C order"),
        (lambda: memcore.to_uint8(_huge(2**44, dtype=np.float32)), "convert them in parts"),
        (lambda: memcore.to_uint8(torch.zeros(()).expand(2**44)), "convert them in parts"),
        (
            lambda: memcore.pairwise_tiled_l2(_huge(2**40, 4, 4, 3, dtype=">f4")),
            "images must be in native byte order",
        ),
        (lambda: memcore.PromptGraph((4, 4, 1), capacity=2**62).next_slot(), "lower capacity"),
        (lambda: memcore.PromptGraph((4, 4, 1), capacity=2**44).next_slot(), "lower capacity"),
    ],
)
def test_what_no_memory_holds(call: Callable[[], Any], names: str) -> None:
    with pytest.raises(ArgumentValueError, match=names):
        call()


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 6), (2, 3, 7)])
def test_distances_of_a_device_are_the_hosts(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed a part after the other, and no more than a part of them is ever there in float64."""
    monkeypatch.setattr(gpu, "PART", 7)
    k = 768
    ssd = np.random.default_rng(1).integers(0, k * 255**2, shape)
    parts: list[int] = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda x: (parts.append(x.numel()), double(x))[1])
    found = gpu.to_distances(torch.from_numpy(ssd), k)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), ssd_to_distance(ssd, k))
    assert max(parts, default=0) <= 7
    assert sum(parts) == ssd.size
