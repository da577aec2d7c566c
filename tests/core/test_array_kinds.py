"""Every kind of array at every public function: the right answer or memcore's refusal, never another answer.

The right answer is that of the same values in a plain array: native byte order, C order, one library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import memcore
import memcore.torch_ops  # registers torch.ops.memcore
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError, MemcoreError
from tests.support.array_kinds import Exporter, field, quietly, read_only, tensor

Function = Callable[[Any], Any]
Kind = Callable[[np.ndarray], Any]

_RNG = np.random.default_rng(0)
IMAGES = _RNG.integers(8, 248, (1, 16, 16, 3)) + _RNG.integers(-8, 9, (6, 16, 16, 3))
IMAGES = IMAGES.astype(np.uint8)
FLOATS = (IMAGES / 255).astype(np.float32)
HALVES = FLOATS.astype(np.float16)


def _prompt_graph(x: Any) -> Any:
    graph = memcore.PromptGraph((16, 16, 3), 0.05, channels="last")
    graph.extend(IMAGES[:2] if isinstance(x, np.ndarray) else torch.from_numpy(IMAGES[:2]))
    graph.extend(x)
    return graph.graph()


def _device_prompts(x: Any) -> Any:
    prompts = memcore.DevicePrompts(1, 16, (16, 16, 3), 0.05, device="cpu")
    prompts.extend(x, [0] * len(IMAGES))
    return prompts.graph(0)


def _last(function: Callable[..., Any], *arguments: Any, **named: Any) -> Function:
    return lambda x: function(x, *arguments, channels="last", **named)


#: What takes images (N, H, W, C), or their rows; by the dtypes that it takes.
TAKES_FLOATS: dict[str, Function] = {
    "pairwise_tiled_l2": _last(memcore.pairwise_tiled_l2),
    "pairwise_tiled_l2 of tiles": _last(memcore.pairwise_tiled_l2, tile=(8, 2)),
    "pairwise_tiled_l2 by the reference": _last(memcore.pairwise_tiled_l2, backend="reference"),
    "pairwise_tiled_l2 of batches": lambda x: memcore.pairwise_tiled_l2(x[None], channels="last"),
    "tiled_l2_graph": _last(memcore.tiled_l2_graph, 0.05),
    "to_uint8": memcore.to_uint8,
}
TAKES_BYTES: dict[str, Function] = {
    **TAKES_FLOATS,
    "pairwise_tiled_l2 ssd": _last(memcore.pairwise_tiled_l2, output="ssd"),
    "tiled_l2_graph without distances": _last(memcore.tiled_l2_graph, 0.05, distances=False),
    "tiled_l2_graph by the reference": _last(memcore.tiled_l2_graph, 0.05, backend="reference"),
    "PromptGraph": _prompt_graph,
    "knn queries": lambda x: memcore.knn(x, _like(x, IMAGES[:4]), 3),
    "knn corpus": lambda x: memcore.knn(_like(x, IMAGES[:4]), x, 3),
    "knn by the reference": lambda x: memcore.knn(x, _like(x, IMAGES[:4]), 3, backend="reference"),
    "knn blocks": lambda x: memcore.knn(_like(x, IMAGES[:4]), iter([x, x]), 3),
    "knn rows": lambda x: memcore.knn(_like(x, IMAGES[:, 0, :, 0]), x[:, 0, :, 0], 3),
}
OPERATORS: dict[str, Function] = {
    "ops.pairwise_tiled_l2": lambda x: torch.ops.memcore.pairwise_tiled_l2(x, channels="last"),
    "ops.tiled_l2_ssd": lambda x: torch.ops.memcore.tiled_l2_ssd(x, channels="last"),
    "ops.tiled_l2_graph": lambda x: torch.ops.memcore.tiled_l2_graph(x, 0.05, channels="last"),
    "ops.knn": lambda x: torch.ops.memcore.knn(x, torch.from_numpy(IMAGES[:4]), 3),
    "DevicePrompts": _device_prompts,
}


def _like(x: Any, array: np.ndarray) -> Any:
    return torch.from_numpy(array) if isinstance(x, torch.Tensor) else array


def _values(answer: Any) -> list[np.ndarray]:
    """Return an answer's arrays, whatever type it has."""
    if isinstance(answer, memcore.Graph):
        kept = (answer.edges, answer.ssd, answer.distances)
        return [np.asarray(a) for a in kept if a is not None]
    if isinstance(answer, memcore.Neighbors):
        return [np.asarray(a) for a in (answer.indices, answer.ssd, answer.distances)]
    if isinstance(answer, tuple):
        return [np.asarray(a) for a in answer]
    return [np.asarray(answer)]


def _same(got: Any, want: Any) -> None:
    for a, b in zip(_values(got), _values(want), strict=True):
        assert a.dtype == b.dtype
        if a.dtype == np.float32:  # sums of floats follow the order of memory
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(a, b)


# --- NumPy: read as the values say


def _unaligned(x: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"?" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


class Subclass(np.ndarray):
    """An array with a class of its own, as libraries of units or labels have it."""


READ: dict[str, Kind] = {
    "Fortran order": np.asfortranarray,
    "planes": lambda x: np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "lines upright": lambda x: np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
    "reversed": lambda x: x[::-1, ::-1, ::-1, ::-1],
    "every other pixel": lambda x: np.repeat(np.repeat(x, 2, 1), 2, 2)[:, ::2, ::2],
    "every other channel": lambda x: np.repeat(x, 2, 3)[..., ::2],
    "every other image": lambda x: np.repeat(x, 2, 0)[::2],
    "one image for all": lambda x: np.broadcast_to(x[:1], x.shape),
    "one pixel for all": lambda x: np.broadcast_to(x[:, :1, :1], x.shape),
    "one channel for all": lambda x: np.broadcast_to(x[..., :1], x.shape),
    "read-only": read_only,
    "field of a record": field,
    "unaligned": _unaligned,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "big-endian, 0 and 1": lambda x: (x > x.mean()).astype(x.dtype.newbyteorder(">")),
    "big-endian planes": lambda x: READ["planes"](x).astype(x.dtype.newbyteorder(">"), order="K"),
    "subclass": lambda x: x.view(Subclass),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", TAKES_BYTES)
def test_bytes_are_read_as_their_values(name: str, kind: str) -> None:
    x = READ[kind](IMAGES)
    _same(TAKES_BYTES[name](x), TAKES_BYTES[name](np.ascontiguousarray(np.asarray(x))))


@pytest.mark.parametrize("base", [FLOATS, HALVES], ids=["float32", "float16"])
@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", TAKES_FLOATS)
def test_floats_are_read_as_their_values(name: str, kind: str, base: np.ndarray) -> None:
    x = READ[kind](base)
    plain = np.ascontiguousarray(np.asarray(x)).astype(base.dtype)
    _same(TAKES_FLOATS[name](x), TAKES_FLOATS[name](plain))


@pytest.mark.parametrize("base", [IMAGES, FLOATS, HALVES], ids=["uint8", "float32", "float16"])
@pytest.mark.parametrize("other", READ)
@pytest.mark.parametrize("images", READ)
def test_two_operands_may_have_two_orders_of_memory(images: str, other: str, base: np.ndarray) -> None:
    x, y = READ[images](base), READ[other](base[:4])
    plain = [np.ascontiguousarray(np.asarray(a)).astype(base.dtype) for a in (x, y)]
    _same(memcore.pairwise_tiled_l2(x, y), memcore.pairwise_tiled_l2(*plain))


@pytest.mark.parametrize("kind", ["Fortran order", "every other", "reversed"])
def test_rows_may_have_any_stride(kind: str) -> None:
    rows = IMAGES.reshape(len(IMAGES), -1)
    x = {"Fortran order": np.asfortranarray(rows), "every other": rows[:, ::2], "reversed": rows[:, ::-1]}[
        kind
    ]
    plain = np.ascontiguousarray(x)
    for queries, corpus in ((x, plain), (plain, x), (x, x)):
        _same(memcore.knn(queries, corpus, 3), memcore.knn(plain, plain, 3))


# --- NumPy: refused


def _masked(x: np.ndarray) -> Any:
    mask = np.zeros(x.shape, dtype=bool)
    mask[1, :8] = True
    return np.ma.masked_array(x, mask)


REFUSED: dict[str, Kind] = {
    "masked": _masked,
    "masked without a mask": np.ma.masked_array,
    "objects": lambda x: x.astype(object),
    "complex": lambda x: x.astype(np.complex64),
    "bool": lambda x: x > 0,
    "int8": lambda x: x.astype(np.int8),
    "uint16": lambda x: x.astype(np.uint16),
    "big-endian int64": lambda x: x.astype(">i8"),
    "times": lambda x: x.astype("m8[s]"),
    "text": lambda x: x.astype("U3"),
    "records": lambda x: np.zeros(x.shape, dtype=[("r", "u1")]),
    "a list": list,
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", [n for n in TAKES_BYTES if n not in ("PromptGraph",)])
def test_what_cannot_be_compared_is_refused(name: str, kind: str) -> None:
    x = REFUSED[kind](IMAGES)
    if kind == "a list" and ("batches" in name or "rows" in name):
        return
    with pytest.raises(ArgumentTypeError, match=r"images|queries|corpus"):
        TAKES_BYTES[name](x)


@pytest.mark.parametrize("kind", [k for k in REFUSED if k != "a list"])
def test_a_prompt_graph_refuses_the_same(kind: str) -> None:
    graph = memcore.PromptGraph((16, 16, 3))
    with pytest.raises(ArgumentTypeError, match="images"):
        graph.extend(REFUSED[kind](IMAGES))
    assert graph.n == 0


def test_a_masked_second_operand_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="other must not be masked"):
        memcore.pairwise_tiled_l2(IMAGES, _masked(IMAGES))


@pytest.mark.parametrize("output", ["distance", "ssd"])
def test_where_answers_are_written(output: Any) -> None:
    want = memcore.pairwise_tiled_l2(IMAGES, output=output)
    out = _unaligned(np.zeros_like(want)).copy()
    raw = bytearray(want.nbytes + 1)
    unaligned = np.frombuffer(raw, np.uint8)[1:].view(want.dtype).reshape(want.shape)
    for target in (out, unaligned):
        np.testing.assert_array_equal(memcore.pairwise_tiled_l2(IMAGES, output=output, out=target), want)
    foreign = want.astype(want.dtype.newbyteorder(">"))
    with pytest.raises(ArgumentValueError, match=r"out must be .*, got >"):
        memcore.pairwise_tiled_l2(IMAGES, output=output, out=foreign)
    with pytest.raises(ArgumentTypeError, match="out must be a NumPy array"):
        memcore.pairwise_tiled_l2(IMAGES, output=output, out=np.ma.masked_array(want))


# --- torch


class SubTensor(torch.Tensor):
    """A tensor with a class of its own."""


TENSORS_READ: dict[str, Kind] = {
    "plain": tensor,
    "channels last": lambda x: tensor(x.transpose(0, 3, 1, 2)).permute(0, 2, 3, 1),
    "expanded": lambda x: tensor(x[:1]).expand(x.shape),
    "every other pixel": lambda x: tensor(np.repeat(x, 2, 2))[:, :, ::2],
    "negative bit": lambda x: torch._neg_view(torch._neg_view(tensor(x)).clone()),
    "subclass": lambda x: tensor(x).as_subclass(SubTensor),
    "inference mode": lambda x: torch.inference_mode()(lambda: tensor(x).clone())(),
}
TENSORS_READ_FLOAT: dict[str, Kind] = {
    **TENSORS_READ,
    "imaginary part of a conjugate": lambda x: torch.complex(tensor(x), -tensor(x)).conj().imag,
    "gradient": lambda x: tensor(x).requires_grad_(),
    "parameter": lambda x: torch.nn.Parameter(tensor(x)),
    "bfloat16": lambda x: tensor(x).bfloat16(),
    "bfloat16 upright": lambda x: tensor(x).bfloat16().transpose(1, 2).contiguous().transpose(1, 2),
}


def _plain(x: torch.Tensor) -> torch.Tensor:
    values = x.detach().resolve_neg().float().numpy() if x.dtype is torch.bfloat16 else None
    if values is not None:
        return torch.from_numpy(values.copy()).bfloat16()
    return torch.from_numpy(np.ascontiguousarray(x.detach().resolve_neg().numpy()).copy())


@pytest.mark.parametrize("kind", TENSORS_READ)
@pytest.mark.parametrize("name", [*TAKES_BYTES, *OPERATORS])
def test_tensors_of_bytes_are_read_as_their_values(name: str, kind: str) -> None:
    function = {**TAKES_BYTES, **OPERATORS}[name]
    x = TENSORS_READ[kind](IMAGES)
    if name == "to_uint8":
        assert torch.equal(memcore.to_uint8(x), x)
        return
    _same(function(x), function(_plain(x)))


@pytest.mark.parametrize("kind", TENSORS_READ_FLOAT)
@pytest.mark.parametrize("name", [*TAKES_FLOATS, "ops.pairwise_tiled_l2"])
def test_tensors_of_floats_are_read_as_their_values(name: str, kind: str) -> None:
    function = {**TAKES_FLOATS, **OPERATORS}[name]
    x = TENSORS_READ_FLOAT[kind](FLOATS)
    got = function(x)
    got = got.detach() if isinstance(got, torch.Tensor) else got
    _same(got, function(_plain(x)))


def _nested(layout: torch.layout) -> Kind:
    return lambda x: quietly(lambda: torch.nested.nested_tensor(list(tensor(x)), layout=layout))


TENSORS_REFUSED: dict[str, Kind] = {
    "sparse": lambda x: tensor(x).to_sparse(),
    "nested": _nested(torch.strided),
    "nested, jagged": _nested(torch.jagged),
    "masked": lambda x: quietly(lambda: torch.masked.masked_tensor(tensor(x).float(), tensor(x) > 5)),
    "quantised": lambda x: quietly(
        lambda: torch.quantize_per_tensor(tensor(x).float() / 255, 1 / 255, 0, torch.quint8)
    ),
    "complex": lambda x: torch.complex(tensor(x).float(), tensor(x).float()),
    "conjugate": lambda x: torch.complex(tensor(x).float(), tensor(x).float()).conj(),
    "bool": lambda x: tensor(x) > 0,
    "int64": lambda x: tensor(x).long(),
    "uint16": lambda x: tensor(x).to(torch.uint16),
    "meta": lambda x: tensor(x).to("meta"),
}


@pytest.mark.parametrize("kind", TENSORS_REFUSED)
@pytest.mark.parametrize("name", [n for n in TAKES_BYTES if n not in ("knn rows",)])
def test_tensors_without_plain_values_are_refused(name: str, kind: str) -> None:
    if "nested" in kind and "batches" in name:
        return
    with pytest.raises((ArgumentTypeError, DeviceError), match=r"images|queries|corpus"):
        quietly(lambda: TAKES_BYTES[name](TENSORS_REFUSED[kind](IMAGES)))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64], ids=str)
def test_floats_of_other_widths(dtype: torch.dtype) -> None:
    x = tensor(FLOATS).to(dtype)
    assert torch.equal(memcore.to_uint8(x), memcore.to_uint8(x.float()))
    with pytest.raises(ArgumentTypeError, match="images must be uint8"):
        memcore.pairwise_tiled_l2(x, channels="last")


@pytest.mark.parametrize("name", ["pairwise_tiled_l2", "tiled_l2_graph", "to_uint8"])
def test_tensors_within_vmap_are_refused(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match="images must be a tensor with values in memory"):
        torch.func.vmap(TAKES_FLOATS[name])(tensor(FLOATS)[None])


# --- DLPack


class Broken(Exporter):
    """An array whose dtype NumPy does not know, as bfloat16 of other libraries."""

    def __dlpack__(self, **named: Any) -> Any:
        raise RuntimeError("unsupported dtype")


class Narrow(Exporter):
    """An array of a library that has no 64-bit numbers and says nothing."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    @staticmethod
    def __array_namespace__() -> Any:
        return Narrow

    @staticmethod
    def from_dlpack(array: np.ndarray) -> Any:
        cut = {"int64": np.int32, "uint64": np.uint32}.get(array.dtype.name, array.dtype)
        return Narrow(array.astype(cut))


EXPORTED: dict[str, Function] = {
    "pairwise_tiled_l2": memcore.pairwise_tiled_l2,
    "tiled_l2_graph": lambda x: memcore.tiled_l2_graph(x, 0.05),
    "knn": lambda x: memcore.knn(x, x, 3),
    "to_uint8": lambda x: getattr(memcore.to_uint8(x), "_array", IMAGES),
    "max_clique": lambda x: (
        memcore.max_clique(type(x)(np.ones((3, 3), np.uint8) - np.eye(3, dtype=np.uint8))).members
    ),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_any_array_with_dlpack_is_read(name: str) -> None:
    if name == "max_clique":
        assert EXPORTED[name](Exporter(IMAGES)) == (0, 1, 2)
        return
    _same(EXPORTED[name](Exporter(IMAGES)), IMAGES if name == "to_uint8" else EXPORTED[name](IMAGES))


@pytest.mark.parametrize("name", EXPORTED)
def test_what_dlpack_cannot_give_is_refused(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match="cannot be read by NumPy over DLPack"):
        EXPORTED[name](Broken(IMAGES))


def test_a_library_that_cuts_to_32_bits_gets_no_cut_answer() -> None:
    rows = np.stack([np.zeros(70_000, np.uint8), np.full(70_000, 255, np.uint8)])
    with pytest.raises(ArgumentTypeError, match="uint64, and Narrow cuts it to uint32"):
        memcore.knn(Narrow(rows), Narrow(rows), 2)  # ssd of 70,000 * 255^2 > 2^32
    found = memcore.knn(Narrow(rows), Narrow(rows), 1)  # values that 32 bits hold
    assert found.indices._array.tolist() == [[0], [1]]
    assert found.ssd._array.tolist() == [[0], [0]]


# --- small arguments that are arrays or numbers


WRONG_PAIRS: list[dict[str, Any]] = [
    {"grid": (float("inf"), 4)},
    {"grid": 4, "tile": (4, 4)},
    {"tile": np.array([4.5, 4])},
    {"grid": np.array([2**70, 4], dtype=object)},
]


@pytest.mark.parametrize("named", WRONG_PAIRS, ids=str)
def test_grids_that_are_no_pair_of_integers(named: dict[str, Any]) -> None:
    with pytest.raises(MemcoreError, match=r"grid|tile"):
        memcore.pairwise_tiled_l2(IMAGES, **named)


def test_reprs_are_one_line() -> None:
    graph = memcore.tiled_l2_graph(IMAGES, 0.05)
    for shown in (graph, memcore.max_clique(graph), memcore.knn(IMAGES, IMAGES, 2)):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 120
    assert repr(graph).startswith("Graph(n=6, edges=15, threshold=0.05, distances=")
    everyone = memcore.max_clique(~np.eye(500, dtype=bool))
    assert repr(everyone).startswith("Clique(members=(0, 1, 2, ..., 497, 498, 499), lower=500,")
    assert "<th>edges</th><td>15</td>" in graph._repr_html_()
