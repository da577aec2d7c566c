"""Arrays of every layout and kind: an answer is that of the same values in a plain array, or memcore refuses them."""

from __future__ import annotations

import array
import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import memcore
from fuzz.draw import Draw
from fuzz.hostile import hostile
from fuzz.target import Wrong
from memcore.errors import MemcoreError

Array = NDArray[Any]


class Answer(NamedTuple):
    """What a function answered: arrays, or the error with which it refused its arguments."""

    values: list[Array] | None
    refused: str


class Layouts:
    """Whatever the memory looks like, functions read the values that NumPy or torch would show, and change none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, rng: np.random.Generator) -> bytes:
        return rng.bytes(64)

    def check(self, data: bytes) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            draw = Draw(data)
            kind = draw.byte() % 8
            if kind == 6:
                return check_hostile(draw)
            if kind == 7:
                return check_graphs(draw)
            return check_layout(draw, self._folder)


# --- memory: each returns an array of equal values


def strided(x: Array, draw: Draw) -> Array:
    """Lay the values out in larger memory: with gaps, from behind, with the axes in another order, at an odd address."""
    axes = [int(axis) for axis in draw.rng().permutation(x.ndim)] if draw.chance(50) else list(range(x.ndim))
    steps = [draw.choose([1, 1, 2, 3, -1, -2]) for _ in range(x.ndim)]
    wide = [max(1, n) * abs(step) + draw.number(0, 2) for n, step in zip(x.shape, steps, strict=True)]
    odd = draw.number(0, 3) if draw.chance(40) else 0
    memory = np.zeros(math.prod(wide) * x.itemsize + odd, np.uint8)
    laid = memory[odd:].view(x.dtype).reshape([wide[axis] for axis in axes])
    shown = laid.transpose(np.argsort(axes))
    cut = tuple(
        slice(None, n * step, step) if step > 0 else slice(n * -step - 1, None, step)
        for n, step in zip(x.shape, steps, strict=True)
    )
    view = shown[cut][tuple(slice(0, n) for n in x.shape)]
    view[...] = x
    return view


def field(x: Array, draw: Draw) -> Array:
    names = [
        ("before", np.uint8, draw.number(1, 3)),
        ("value", x.dtype),
        ("behind", np.uint8, draw.number(1, 5)),
    ]
    records = np.zeros(x.shape, dtype=names)
    records["value"] = x
    view: Array = records["value"]
    return view


def read_only(x: Array, draw: Draw) -> Array:
    view = x.view()
    view.setflags(write=False)
    return view


def swapped(x: Array, draw: Draw) -> Array:
    return x.astype(x.dtype.newbyteorder(">"), order="K")


def repeated(x: Array, draw: Draw) -> Array:
    """Return other values, of which one axis repeats the first: a stride of 0."""
    if not x.size:
        return x
    axis = draw.number(0, x.ndim - 1)
    return np.broadcast_to(x.take([0], axis), x.shape)


def windows(x: Array, draw: Draw) -> Array:
    """Return other values, of which images overlap in memory."""
    if x.ndim < 2 or not x.size:
        return x
    inner = math.prod(x.shape[1:])
    flat = np.resize(np.ascontiguousarray(x), inner + len(x) * 3)
    own = np.empty(x.shape[1:], x.dtype).strides
    return np.lib.stride_tricks.as_strided(flat, x.shape, (draw.number(1, 3) * x.itemsize, *own))


def subclass(x: Array, draw: Draw) -> Array:
    return x.view(Labelled)


class Labelled(np.ndarray[Any, Any]):
    """An array of a class of its own, as libraries of units or labels have it."""


MEMORY: tuple[Callable[[Array, Draw], Array], ...] = (
    *(strided, field, read_only, swapped, repeated, windows, subclass, strided),
)


# --- kinds: each returns an object that holds the values


class Exporter:
    """An array of which nothing is known but DLPack's two methods."""

    def __init__(self, held: Array) -> None:
        self._held = held

    def __dlpack__(self, **named: Any) -> Any:
        return self._held.__dlpack__(**named)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._held.__dlpack_device__()


def as_tensor(x: Array, draw: Draw) -> torch.Tensor:
    """Return a tensor of the values: as it is, laid out by torch, negated as a view, or one that wants gradients."""
    whole = torch.from_numpy(np.ascontiguousarray(x.astype(x.dtype.newbyteorder("="))))
    kind = draw.byte() % 6
    if kind == 1 and whole.ndim > 1:
        a, b = draw.number(0, whole.ndim - 1), draw.number(0, whole.ndim - 1)
        return whole.transpose(a, b).contiguous().transpose(a, b)
    if kind == 2:
        wide = torch.zeros([2 * n + 1 for n in whole.shape], dtype=whole.dtype)
        view = wide[tuple(slice(1, 2 * n + 1, 2) for n in whole.shape)]
        view.copy_(whole)
        return view
    if kind == 3 and whole.dtype.is_floating_point:
        negated: torch.Tensor = torch._neg_view(-whole)
        return negated
    if kind == 4 and whole.dtype.is_floating_point:
        return whole.requires_grad_(True)
    if kind == 5 and whole.dtype is torch.float32:
        return whole.to(torch.bfloat16)
    return whole


def plain_tensor(x: torch.Tensor) -> torch.Tensor:
    return x.detach().resolve_neg().clone(memory_format=torch.contiguous_format)


# --- functions


def _values(answer: Any) -> list[Array]:
    if isinstance(answer, memcore.Graph):
        return [np.asarray(a) for a in (answer.edges, answer.ssd, answer.distances) if a is not None]
    if isinstance(answer, memcore.Neighbors):
        return [np.asarray(a) for a in (answer.indices, answer.ssd, answer.distances)]
    return [shown(answer)]


def shown(x: Any) -> Array:
    """Return the values of an array of any kind as a plain one."""
    if isinstance(x, torch.Tensor):
        x = x.detach().resolve_neg()
        return np.asarray(x.float() if x.dtype is torch.bfloat16 else x)
    return np.asarray(x._held if isinstance(x, Exporter) else x)


def ask(function: Callable[..., Any], *arguments: Any) -> Answer:
    try:
        return Answer(_values(function(*arguments)), "")
    except MemcoreError as error:
        if not str(error):
            raise Wrong("a refusal without a word") from error
        return Answer(None, f"{type(error).__name__}: {error}")


def as_batch(x: Any) -> Any:
    """Return one set of images as a batch of sets; what cannot be one as it is."""
    try:
        return x[None]
    except (TypeError, IndexError, KeyError, RuntimeError):
        return x


def grown(x: Any, y: Any, shape: tuple[int, ...]) -> memcore.Graph:
    graph = memcore.PromptGraph(shape, 0.2, grid=(2, 2), channels="last")  # type: ignore[arg-type]
    graph.extend(x)
    graph.extend(y)
    return graph.graph()


class Function(NamedTuple):
    """A function of two arrays, and whether it takes floats."""

    call: Callable[[Any, Any], Any]
    floats: bool


def functions(shape: tuple[int, ...]) -> dict[str, Function]:
    """Return every function that takes arrays, for images (N, H, W, C) of this shape."""
    last = functools.partial
    distance = last(memcore.pairwise_tiled_l2, grid=(2, 2), channels="last")
    return {
        "distances": Function(distance, True),
        "distances of one": Function(lambda x, y: distance(x), True),
        "ssd": Function(last(distance, output="ssd"), False),
        "batches": Function(lambda x, y: distance(as_batch(x), as_batch(y)), True),  # of one set each
        "graph": Function(lambda x, y: memcore.tiled_l2_graph(x, 0.2, grid=(2, 2), channels="last"), True),
        "growing": Function(lambda x, y: grown(x, y, shape[1:]), False),
        "neighbours": Function(lambda x, y: memcore.knn(x, y, 1), False),
        "to_uint8": Function(lambda x, y: memcore.to_uint8(x), True),
    }


def check_layout(draw: Draw, folder: Path) -> str:
    """Give images in two layouts to a function; its answer must be that of the values in plain arrays."""
    shape = (2 * draw.number(1, 4), 2 * draw.number(1, 4), draw.number(1, 4))
    pixels = draw.pixels((draw.number(1, 6) + draw.number(1, 6), *shape))
    split = draw.number(1, len(pixels) - 1)
    name = draw.choose(list(functions(shape)))
    function = functions((1, *shape))[name]
    values: Array = pixels
    if function.floats and draw.chance(50):
        values = (pixels / np.float32(255)).astype(draw.choose([np.float32, np.float16]))
    given = [values[:split].copy(), values[split:].copy()]
    for number in range(2):
        for _ in range(draw.number(0, 3)):
            given[number] = draw.choose(MEMORY)(given[number], draw)
    plain: list[Any] = [np.array(x, x.dtype.newbyteorder("="), order="C", subok=False) for x in given]
    objects, may_refuse = list[Any](given), False
    kind = draw.byte() % 8
    if kind == 1:
        objects = [as_tensor(x, draw) for x in given]
        if objects[0].dtype is not objects[1].dtype:
            objects[1] = objects[1].to(objects[0].dtype)
        plain = [plain_tensor(x) for x in objects]
    elif kind == 2 and name != "batches":
        objects, may_refuse = [Exporter(x) for x in given], True
    elif kind == 3:
        objects = [np.asarray(x).tolist() if name == "to_uint8" else memoryview(x) for x in plain]
        objects = [array.array("B", b"123") if draw.chance(20) else x for x in objects]
        found = ask(function.call, *objects)
        if found.values is not None:
            raise Wrong(f"{name} takes a {type(objects[0]).__name__}")
        return "refused"
    elif kind == 4:
        path = folder / "memory"
        np.save(path.with_suffix(".npy"), plain[0])
        objects[0] = np.load(path.with_suffix(".npy"), mmap_mode=draw.choose(["r", "c"]))
        plain[0] = np.array(objects[0])
    return compare(name, function, objects, plain, may_refuse)


def check_graphs(draw: Draw) -> str:
    """Give an adjacency matrix and edges in two layouts to the functions of cliques."""
    n = draw.number(1, 9)
    upper = np.triu(draw.rng().random((n, n)) < draw.fraction(), 1)
    matrix: Array = (upper | upper.T).astype(draw.choose([np.bool_, np.uint8]))
    edges: Array = np.argwhere(upper).astype(
        draw.choose(["i1", "u1", "i2", ">i4", "i4", "u4", "i8", ">i8", "u8"])
    )
    quiet = tuple(keep for keep in MEMORY if keep not in (repeated, windows))  # those change the values
    laid = [draw.choose(quiet)(x, draw) for x in (matrix, edges)]
    plain: list[Any] = [np.array(x, x.dtype.newbyteorder("="), order="C", subok=False) for x in laid]
    objects: list[Any] = list(laid)
    if draw.chance(25):
        objects = [torch.from_numpy(x.astype(np.int64) if x.dtype.itemsize > 1 else x) for x in plain]

    def call(adjacency: Any, pairs: Any) -> Array:
        graph = memcore.Graph(n, pairs, None, None, 0.15, 48)
        found = [
            memcore.max_clique(adjacency),
            memcore.max_clique(graph),
            *memcore.max_cliques([adjacency, graph]),
        ]
        if len({clique.members for clique in found}) != 1:
            raise Wrong(f"several largest cliques of one graph: {found}")
        return np.array([clique.members for clique in memcore.find_cliques(adjacency, 2)], dtype=object)

    return compare("cliques", Function(call, False), objects, plain, may_refuse=False)


def compare(name: str, function: Function, objects: list[Any], plain: list[Any], may_refuse: bool) -> str:
    before = [shown(x).copy() for x in plain]
    wanted = ask(function.call, *plain)
    found = ask(function.call, *objects)
    for x, was in zip(objects, before, strict=True):
        if not np.array_equal(shown(x), was, equal_nan=was.dtype.kind == "f"):
            raise Wrong(f"{name} changed its argument")
    if found.values is None or wanted.values is None:
        if found.values is None and (wanted.values is None or may_refuse):
            return "refused"
        raise Wrong(f"{name} refuses one layout and not another: {found.refused or wanted.refused}")
    for a, b in zip(found.values, wanted.values, strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            raise Wrong(f"{name} answers {a.dtype} {a.shape}, not {b.dtype} {b.shape}")
        # sums of floats follow the order of memory
        if a.dtype.kind == "f" and np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True):
            continue
        if not np.array_equal(a, b):
            raise Wrong(f"{name} answers {a.ravel()[:20]}, not {b.ravel()[:20]}")
    return "equal"


# --- what no function can take


def check_hostile(draw: Draw) -> str:
    """Give what is no image to a function: it may refuse it or take it, and must raise nothing but memcore's errors."""
    name = draw.choose(list(functions((1, 4, 4, 3))))
    function = functions((1, 4, 4, 3))[name]
    good: Any = np.zeros((2, 4, 4, 3), np.uint8)
    x = hostile(draw)
    arguments = [x, x] if draw.chance(30) else [good, x] if draw.chance(30) else [x, good]
    if name == "neighbours" and isinstance(arguments[1], np.ndarray) and arguments[1].shape[:1] > (2**32,):
        return "skipped"  # it would be searched, for years
    return "taken" if ask(function.call, *arguments).values is not None else "refused"
