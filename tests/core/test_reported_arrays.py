"""Arrays and graphs as other libraries make them: the answer of their values, or an error. See tests/FAULTS.md."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import memcore
from memcore.errors import ArgumentTypeError, MemcoreError

Array = NDArray[Any]


def floats(count: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 16, 16, 3), dtype=np.float32)


def masked(array: Array) -> np.ma.MaskedArray[Any, Any]:
    return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) % 2 == 0)


@pytest.mark.parametrize("kind", [">f4", ">f2", "<f4", "<f2"])
def test_floats_of_any_byte_order_give_the_answer_of_their_values(kind: str) -> None:
    given = (floats() > 0.5).astype(kind)
    want = memcore.pairwise_tiled_l2(given.astype(np.float32))
    assert np.allclose(memcore.pairwise_tiled_l2(given), want, atol=1e-6)
    assert len(memcore.tiled_l2_graph(given, 0.72)) == len(
        memcore.tiled_l2_graph(given.astype(np.float32), 0.72)
    )


CALLS: dict[str, Callable[[Array], object]] = {
    "pairwise_tiled_l2": memcore.pairwise_tiled_l2,
    "tiled_l2_graph": lambda a: memcore.tiled_l2_graph(a, 0.1),
    "knn": lambda a: memcore.knn(a, a, 1),
    "to_uint8": memcore.to_uint8,
    "max_clique": lambda a: memcore.max_clique(a[:, :6, 0, 0] > 2),
    "PromptGraph": lambda a: memcore.PromptGraph((16, 16, 3)).extend(a),
}


@pytest.mark.parametrize("name", CALLS)
def test_masks_are_never_ignored(name: str) -> None:
    with pytest.raises(ArgumentTypeError):
        CALLS[name](masked((floats() * 255).astype(np.uint8)))


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1, ::-1, ::-1, ::-1],
        lambda a: np.repeat(a, 2, 2)[:, :, ::2],
        np.asfortranarray,
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a.transpose(0, 2, 1, 3),
    ],
)
def test_any_strides_give_the_answer_of_their_values(view: Callable[[Array], Array]) -> None:
    given = view(np.random.default_rng(1).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8))
    want = memcore.pairwise_tiled_l2(np.ascontiguousarray(given))
    assert np.array_equal(memcore.pairwise_tiled_l2(given), want)
    assert np.array_equal(
        memcore.knn(given, np.ascontiguousarray(given), 2).indices,
        memcore.knn(np.ascontiguousarray(given), np.ascontiguousarray(given), 2).indices,
    )


@pytest.mark.filterwarnings("ignore")  # torch warns of what is new in it
def test_tensors_without_plain_values_are_refused_and_lazy_ones_read() -> None:
    torch = pytest.importorskip("torch")
    values = torch.from_numpy(floats().transpose(0, 3, 1, 2).copy())
    want = memcore.pairwise_tiled_l2(values)
    negative = torch.complex(values, -values).conj().imag
    assert negative.is_neg()
    assert torch.allclose(memcore.pairwise_tiled_l2(negative), want)
    for odd in (
        torch.quantize_per_tensor(values, 1 / 255, 0, torch.quint8),
        values.to("meta"),
        values.to_sparse(),
        torch.nested.nested_tensor(list(values)),
        torch.complex(values, values),
    ):
        for call in ("pairwise_tiled_l2", "to_uint8"):
            with pytest.raises(MemcoreError):
                CALLS[call](odd)


class Dlpack:
    """An array of another library that has nothing but the protocol."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_arrays_over_dlpack() -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    want = memcore.pairwise_tiled_l2(images)
    fixed = images.copy()
    fixed.flags.writeable = False
    # NumPy itself does not export what is read-only
    for given in (images, images[::-1, ::2].repeat(2, 1)[::-1], images[:, ::-1][:, ::-1]):
        assert np.array_equal(
            np.asarray(memcore.pairwise_tiled_l2(Dlpack(given))),
            np.asarray(memcore.pairwise_tiled_l2(np.ascontiguousarray(given))),
        )
    assert np.array_equal(memcore.to_uint8(Dlpack(floats())), memcore.to_uint8(floats()))
    assert memcore.max_clique(Dlpack(~np.eye(3, dtype=bool))).members == (0, 1, 2)
    assert want.shape == (6, 6)
    torch = pytest.importorskip("torch")
    half = Dlpack(torch.from_numpy(floats()).bfloat16())
    try:
        answer = np.asarray(memcore.pairwise_tiled_l2(half))
    except MemcoreError:
        return  # this protocol's NumPy has no such type
    assert np.allclose(answer, memcore.pairwise_tiled_l2(floats()), atol=4e-3)


PAIRS = np.array(list(itertools.combinations(range(3), 2)))


@pytest.mark.parametrize(
    "edges",
    [PAIRS + 2**32, PAIRS.astype(float) + 0.9, PAIRS - 1, PAIRS + 2**33, np.array([[0, 0]])],
    ids=["beyond 32 bits", "fractions", "negative", "beyond 33 bits", "a loop"],
)
def test_edges_that_are_no_pairs_of_vertices_are_refused(edges: Array) -> None:
    with pytest.raises(MemcoreError):
        memcore.max_clique(memcore.Graph(3, edges, None, np.zeros(len(edges), np.float32), 0.1, 1))


def test_a_long_path_is_searched_at_once() -> None:
    """Every pair was once a search of its own over all that was left: 28 seconds for 20,000 vertices."""
    count = 20_000
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], 1).astype(np.int32)
    graph = memcore.Graph(count, edges, None, np.zeros(count - 1, np.float32), 0.1, 1)
    assert memcore.find_cliques(graph, 3) == []
    begin = time.process_time()
    pairs = memcore.find_cliques(graph, 2)
    assert time.process_time() - begin < 5  # it takes some 20 ms
    assert [pair.members for pair in pairs] == [(v, v + 1) for v in range(0, count, 2)]
    assert pairs.proven
