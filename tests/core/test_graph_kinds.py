"""Every kind of matrix, edges and number of vertices at every function of cliques: right or refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import memcore
from memcore.errors import ArgumentTypeError, ArgumentValueError, MemcoreError
from tests.support.array_kinds import Exporter, field, quietly, read_only, tensor

Function = Callable[[Any], Any]
Kind = Callable[[np.ndarray], Any]

TRIANGLE = np.kron(np.eye(2, dtype=np.uint8), np.ones((3, 3), np.uint8) - np.eye(3, dtype=np.uint8))
MATRICES: dict[str, Function] = {
    "max_clique": lambda x: memcore.max_clique(x).members,
    "max_clique by the reference": lambda x: memcore.max_clique(x, backend="reference").members,
    "find_cliques": lambda x: memcore.find_cliques(x, 2)[0].members,
    "max_cliques": lambda x: memcore.max_cliques([x])[0].members,
}
MATRICES_READ: dict[str, Kind] = {
    "Fortran order": np.asfortranarray,
    "every other": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda x: x[::-1, ::-1],
    "read-only": read_only,
    "matrix": lambda x: quietly(lambda: np.asmatrix(x)),
    "bool": lambda x: x.astype(bool),
    "field of a record": field,
    "tensor": tensor,
    "negative bit": lambda x: torch._neg_view(tensor(x)),
    "DLPack": Exporter,
}
MATRICES_REFUSED: dict[str, Kind] = {
    "masked": lambda x: np.ma.masked_array(x, x > 0),
    "float": lambda x: x.astype(float),
    "int64": lambda x: x.astype(np.int64),
    "objects": lambda x: x.astype(object),
    "sparse tensor": lambda x: tensor(x).to_sparse(),
    "nested tensor": lambda x: quietly(lambda: torch.nested.nested_tensor(list(tensor(x)))),
    "masked tensor": lambda x: quietly(lambda: torch.masked.masked_tensor(tensor(x).bool(), tensor(x) > 0)),
    "quantised tensor": lambda x: quietly(
        lambda: torch.quantize_per_tensor(tensor(x).float(), 1.0, 0, torch.quint8)
    ),
    "float tensor": lambda x: tensor(x).float(),
    "meta tensor": lambda x: tensor(x).to("meta"),
    "number": lambda _: torch.tensor(1, dtype=torch.uint8),
}


@pytest.mark.parametrize("kind", MATRICES_READ)
@pytest.mark.parametrize("name", MATRICES)
def test_matrices_are_read_as_their_values(name: str, kind: str) -> None:
    assert MATRICES[name](MATRICES_READ[kind](TRIANGLE)) == (0, 1, 2)


@pytest.mark.parametrize("kind", MATRICES_REFUSED)
@pytest.mark.parametrize("name", MATRICES)
def test_matrices_of_other_kinds_are_refused(name: str, kind: str) -> None:
    with pytest.raises(MemcoreError, match="graph"):
        quietly(lambda: MATRICES[name](MATRICES_REFUSED[kind](TRIANGLE)))


EDGES = np.array([[0, 1], [0, 2], [1, 2]])
_graph = functools.partial(memcore.Graph, ssd=None, distances=None, threshold=0.1, tile_bytes=1)
SOLVERS: dict[str, Function] = {
    "max_clique": lambda g: memcore.max_clique(g).members,
    "max_clique with a limit": lambda g: memcore.max_clique(g, node_limit=1000).members,
    "max_clique by the reference": lambda g: memcore.max_clique(g, backend="reference").members,
    "find_cliques": lambda g: memcore.find_cliques(g, 2)[0].members,
    "max_cliques": lambda g: memcore.max_cliques([g])[0].members,
    "adjacency": lambda g: tuple(map(int, np.nonzero(g.adjacency().any(1))[0])),
    "degrees": lambda g: tuple(map(int, np.nonzero(g.degrees())[0])),
}
EDGES_READ: dict[str, Any] = {
    **{d: EDGES.astype(d) for d in ("int8", "uint8", "int32", "int64", "uint64", ">i4", ">i8")},
    "Fortran order": np.asfortranarray(EDGES.astype(np.int32)),
    "list": EDGES.tolist(),
    "tensor": torch.from_numpy(EDGES),
    "every other": np.repeat(EDGES.astype(np.int32), 2, 0)[::2],
}
EDGES_REFUSED: dict[str, tuple[Any, type[MemcoreError]]] = {
    "floats": (EDGES.astype(float), ArgumentTypeError),
    "fractions": (EDGES + 0.9, ArgumentTypeError),
    "bool": (EDGES > 0, ArgumentTypeError),
    "objects": (EDGES.astype(object), ArgumentTypeError),
    "masked": (np.ma.masked_array(EDGES.astype(np.int32), EDGES == 2), ArgumentTypeError),
    "float tensor": (torch.from_numpy(EDGES).float(), ArgumentTypeError),
    "2^32 + i": (EDGES + 2**32, ArgumentValueError),
    "2^31 + i": (EDGES + 2**31, ArgumentValueError),
    "uint64": (EDGES.astype(np.uint64) + np.uint64(2**63), ArgumentValueError),
    "negative": (EDGES - 1, ArgumentValueError),
    "columns": (EDGES.T, ArgumentValueError),
    "flat": (EDGES.ravel(), ArgumentValueError),
}
EDGES_BAD: dict[str, np.ndarray] = {
    "negative": EDGES - 1,
    "beyond n": EDGES + 1,
    "a loop": np.array([[0, 1], [1, 1]]),
    "reversed": EDGES[:, ::-1],
}


@pytest.mark.parametrize("kind", EDGES_READ)
@pytest.mark.parametrize("name", SOLVERS)
def test_edges_are_read_as_their_values(name: str, kind: str) -> None:
    graph = _graph(3, EDGES_READ[kind])
    assert graph.edges.dtype == np.int32
    assert SOLVERS[name](graph) == (0, 1, 2)


@pytest.mark.parametrize("kind", EDGES_REFUSED)
def test_edges_that_32_bits_do_not_hold_are_refused(kind: str) -> None:
    edges, error = EDGES_REFUSED[kind]
    with pytest.raises(error, match="edges"):
        _graph(3, edges)


@pytest.mark.parametrize("kind", EDGES_BAD)
@pytest.mark.parametrize("name", SOLVERS)
def test_edges_that_are_no_pairs_of_vertices_are_refused(name: str, kind: str) -> None:
    with pytest.raises(ArgumentValueError, match="edges must hold 0 <= i < j < n"):
        SOLVERS[name](_graph(3, EDGES_BAD[kind].astype(np.int32)))


@pytest.mark.parametrize(
    "n", [3.0, True, "3", None, -1, 2**31 - 1, 2**40, np.float64(3), np.uint64(2**63)], ids=repr
)
def test_numbers_of_vertices_that_are_none_are_refused(n: Any) -> None:
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="n must be"):
        _graph(n, EDGES.astype(np.int32))


def test_numbers_of_vertices_of_numpy() -> None:
    assert memcore.max_clique(_graph(np.int64(3), EDGES)).members == (0, 1, 2)
    assert memcore.max_clique(_graph(2, np.empty((0, 2)))).members == (0,)
    with pytest.raises(ArgumentTypeError, match="ssd and distances must not be masked"):
        memcore.Graph(3, EDGES, np.ma.masked_array([1, 2, 3]), None, 0.1, 1)
