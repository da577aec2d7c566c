"""What no function of images can take: empty, huge, of other types, freed, without values, or an object that lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import memcore
from fuzz.draw import Draw

Array = NDArray[Any]


def hostile(draw: Draw) -> Any:
    kinds: tuple[Callable[[Draw], Any], ...] = (
        huge, empty, odd_type, odd_object, odd_tensor, odd_exporter, odd_values,
    )  # fmt: skip
    return draw.choose(kinds)(draw)


def huge(draw: Draw) -> Any:
    """Return an array of a few bytes with far more elements than any memory holds."""
    shape = [draw.number(1, 4), 4, 4, 3]
    shape[draw.number(0, 3)] = draw.choose([2**40, 2**44, 2**61, 2**62])
    if math.prod(shape) >= 2**63:
        shape = [1, 4, 2**58, 1]
    whole: Array = np.broadcast_to(np.array(7, draw.choose([np.uint8, np.float32])), (1, 1, 1, 1))
    if math.prod(shape) * whole.itemsize >= 2**63:
        whole = np.broadcast_to(np.uint8(7), (1, 1, 1, 1))
    return np.lib.stride_tricks.as_strided(whole, shape, [0] * 4)


def empty(draw: Draw) -> Any:
    shape = [draw.choose([0, 1, 2, 4]) for _ in range(draw.number(0, 6))]
    kind = draw.choose([np.uint8, np.float32, np.float16])
    return torch.zeros(shape) if draw.chance(20) else np.zeros(shape, kind)


def odd_type(draw: Draw) -> Any:
    names = ["bool", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f8", "f16", "c8", "c16", "S3", "U2", "O"]
    names += ["M8[s]", "m8[s]", "V5", ">u2", ">f4", ">f2"]
    x = np.zeros(draw.choose([(2, 4, 4, 3), (2, 4, 4), (4,), ()]), draw.choose(names))
    return np.ma.masked_array(np.zeros((2, 4, 4, 3), np.uint8), True) if draw.chance(10) else x


def odd_object(draw: Draw) -> Any:
    items: tuple[Any, ...] = (
        *(
            None,
            1,
            1.5,
            "images",
            b"images",
            [],
            [[[[1]]]],
            {},
            object(),
            memcore,
            np.uint8(3),
            range(5),
            iter([]),
        ),
        *(slice(1), type, np.zeros, ..., float("nan"), 2**70, np.random.default_rng(0)),
    )
    return draw.choose(items)


def odd_tensor(draw: Draw) -> Any:
    kind = draw.byte() % 8
    x = torch.zeros(
        (2, 4, 4, 3), dtype=draw.choose([torch.uint8, torch.float32, torch.int64, torch.complex64])
    )
    if kind == 0:
        return x.to_sparse()
    if kind == 1:
        return x.to("meta")
    if kind == 2:
        return torch.nested.nested_tensor([torch.zeros(2, 4, 3), torch.zeros(3, 4, 3)])
    if kind == 3:
        return torch.quantize_per_tensor(torch.zeros(2, 4, 4, 3), 0.1, 0, torch.quint8)
    if kind == 4:
        return x.expand(2, 2, 4, 4, 3) if draw.chance(50) else torch.zeros(()).expand(2**40, 4, 4, 3)
    if kind == 5:
        return x.conj() if x.is_complex() else x.to(torch.float64)
    if kind == 6:
        x.untyped_storage().resize_(0)
        return x
    return x


class Lying:
    """An object whose DLPack methods do not what they say."""

    def __init__(self, kind: int) -> None:
        self._kind = kind

    def __dlpack__(self, **named: Any) -> Any:
        raise (BufferError, TypeError, ValueError, RuntimeError)[self._kind % 4]("no")

    def __dlpack_device__(self) -> Any:
        return [(1, 0), (2, 0), (99, 0), (1, 7)][self._kind // 4 % 4]


def odd_exporter(draw: Draw) -> Any:
    return Lying(draw.byte())


def odd_values(draw: Draw) -> Any:
    x = np.zeros((2, 4, 4, 3), draw.choose(["f4", "f2", ">f4"]))
    x[1, 2, 3, 1] = draw.choose([np.nan, np.inf, -np.inf, -1, 2, -0.0, 1e-45])
    return x
