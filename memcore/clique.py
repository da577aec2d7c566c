"""Exact cliques of a graph, with bounds and proof."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays, interop
from memcore.backends import cpu, gpu_clique
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError, MemcoreError
from memcore.types import DEFAULT_MIN_CLIQUE, DEFAULT_NODE_LIMIT, Backend, Clique, Cliques, Graph

_DIAGONAL = "graph must have nothing on its diagonal: a vertex is not its own neighbour"
_ASYMMETRIC = "graph must be symmetric; use graph | graph.T if one direction is enough for an edge"


def max_clique(
    graph: Graph | Any, *, node_limit: int = DEFAULT_NODE_LIMIT, backend: Backend = "auto"
) -> Clique:
    """Return the largest set of vertices that are all connected to each other.

    Parameters
    ----------
    graph
        A ``Graph``, or a symmetric (n, n) adjacency matrix of bool or uint8 with nothing on its diagonal.
    node_limit
        Branch-and-bound nodes, a measure of work that is the same on every machine. When they are used up, the answer
        has ``proven=False`` and correct bounds: lower <= clique number <= upper.
    backend
        "auto": a matrix on a CUDA device is solved there, if the core was built with CUDA and n <= 1,024; anything else
        is solved by the native solver on the CPU. "cpu", "gpu": that one, or an error. "reference": enumeration in Python,
        for small graphs. Except for ``nodes``, a proven answer is the same everywhere. Where the GPU proves nothing, the
        CPU tries with the same limit.

    Returns
    -------
    Clique
        Members in ascending order; if proven, the lexicographically smallest of all maximum cliques.

    Raises
    ------
    ArgumentTypeError
        ``graph`` is neither a ``Graph`` nor a matrix of bool or uint8.
    ArgumentValueError
        The matrix is not square, not symmetric or has ones on its diagonal, or an option cannot be used.
    DeviceError
        ``backend="gpu"`` cannot take this graph.

    References
    ----------
    Carlini et al. 2023, section 4.2.1: cliques of at least 10 generations.

    Examples
    --------
    >>> import numpy as np, memcore
    >>> a = np.zeros((4, 4), dtype=bool)
    >>> a[0, 1] = a[1, 0] = a[1, 2] = a[2, 1] = a[0, 2] = a[2, 0] = True
    >>> memcore.max_clique(a).members
    (0, 1, 2)
    """
    if type(graph) is Graph and backend == "auto" and node_limit is DEFAULT_NODE_LIMIT:
        # A sparse graph is solved in a microsecond, so nothing else is checked before.
        return cpu.max_clique(graph.n, graph.edges, node_limit)
    limit = arrays.check_count(node_limit, "node_limit")
    _check_backend(backend)
    if isinstance(graph, Graph) and backend in ("auto", "cpu"):
        return cpu.max_clique(graph.n, graph.edges, limit)
    if (bits := _bits_on_gpu(graph, backend)) is not None:
        found = gpu_clique.to_host(*gpu_clique.max_cliques(bits[None], min_size=0, node_limit=limit))[0]
        if found.proven:
            return _clique(found)
        backend = "cpu"
    if isinstance(graph, Graph):
        return _proven(_reference(graph.adjacency()))
    adjacency = _check_adjacency(graph)
    if backend == "reference":
        return _proven(_reference(adjacency))
    return _clique(cpu.max_clique_adjacency(adjacency, limit))


def find_cliques(
    graph: Graph | Any,
    min_size: int = DEFAULT_MIN_CLIQUE,
    *,
    node_limit: int = DEFAULT_NODE_LIMIT,
    backend: Backend = "auto",
) -> Cliques:
    """Return vertex-disjoint cliques of at least ``min_size`` vertices, largest first.

    The first is the maximum clique; each further one is the maximum clique of the vertices that remain. A prompt that
    reproduces two training images gives two findings.

    Parameters
    ----------
    graph, backend
        As in ``max_clique``.
    min_size
        At least 2. A ``partial`` graph whose ``min_clique`` is larger is refused, since edges may be missing.
    node_limit
        As in ``max_clique``, for all cliques together.

    Returns
    -------
    Cliques
        A list with two facts about the vertices that remain: ``proven`` says that they hold no clique of ``min_size``,
        ``upper`` is the most members that one could have. An empty list with ``proven=False`` means that the limit ended
        the search, not that there is no clique.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, DeviceError
        As in ``max_clique``.

    References
    ----------
    Carlini et al. 2023, section 4.2.1.

    Examples
    --------
    >>> import numpy as np, memcore
    >>> a = np.zeros((5, 5), dtype=bool)
    >>> a[:3, :3] = True; a[3:, 3:] = True
    >>> np.fill_diagonal(a, False)
    >>> [c.members for c in memcore.find_cliques(a, 2)]
    [(0, 1, 2), (3, 4)]
    >>> memcore.find_cliques(a, 4), memcore.find_cliques(a, 4).proven
    ([], True)
    """
    limit = arrays.check_count(node_limit, "node_limit")
    size = min(arrays.check_count(min_size, "min_size", 2), arrays.MOST)
    _check_backend(backend)
    if (bits := _bits_on_gpu(graph, backend)) is not None:
        disjoint = gpu_clique.find_cliques(bits, size, limit)
        if disjoint is not None:
            return Cliques(map(_clique, disjoint), size - 1, size)
        backend = "cpu"
    if isinstance(graph, Graph):
        _check_floor(graph, size, "min_size", "graph")
        n, edges = graph.n, graph.edges
    else:
        adjacency = _check_adjacency(graph)
        n = len(adjacency)
        edges = np.stack(np.nonzero(np.triu(adjacency, 1)), axis=1).astype(np.int32)
    if backend == "reference":
        from memcore.backends import reference

        whole = Graph(n, edges, None, np.empty(0, np.float32), 0.0, 0).adjacency()
        return Cliques(map(_proven, reference.find_cliques(whole, size)), size - 1, size)
    found, upper = cpu.find_cliques(n, edges, size, limit)
    return Cliques(map(_clique, found), upper, size)


def max_cliques(
    graphs: Iterable[Graph | Any],
    *,
    min_size: int = 1,
    node_limit: int = DEFAULT_NODE_LIMIT,
    threads: int | None = None,
) -> list[Clique]:
    """Return the maximum clique of each of many graphs, solved in parallel by the native solver on the CPU.

    Parameters
    ----------
    graphs
        ``Graph`` objects or adjacency matrices as in ``max_clique``, possibly mixed, or a stack of matrices (G, n, n).
    min_size
        Where a graph has no clique of this size, its answer may be the empty clique with ``upper = min_size - 1``. Most
        graphs of prompts are then decided by peeling alone.
    node_limit
        For each graph, as in ``max_clique``.
    threads
        CPU threads, by default all that the process may use. The answers do not depend on them.

    Returns
    -------
    list[Clique]
        One for each graph, in order.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As in ``max_clique``; the message begins with the graph's number.

    References
    ----------
    Carlini et al. 2023, section 4.2.1.

    Examples
    --------
    >>> import numpy as np, memcore
    >>> pair = np.array([[False, True], [True, False]])
    >>> [c.members for c in memcore.max_cliques([pair, np.zeros((3, 3), dtype=bool)])]
    [(0, 1), (0,)]
    """
    limit = arrays.check_count(node_limit, "node_limit")
    size = min(arrays.check_count(min_size, "min_size", 1), arrays.MOST)
    workers = arrays.check_threads(threads)
    if isinstance(graphs, Graph):
        raise ArgumentTypeError("graphs must be several graphs, got one Graph; max_clique() takes one")
    if not isinstance(graphs, Iterable):
        raise ArgumentTypeError(f"graphs must be several graphs, got {type(graphs).__name__}")
    sizes: list[int] = []
    edges: list[NDArray[np.int32]] = []
    for number, graph in enumerate(graphs):
        if isinstance(graph, Graph):
            _check_floor(graph, size, "min_size", f"graphs[{number}]")
            sizes.append(graph.n)
            edges.append(graph.edges)
            continue
        try:
            adjacency = _check_adjacency(graph)
        except MemcoreError as error:
            raise type(error)(f"graphs[{number}]: {error}") from None
        sizes.append(len(adjacency))
        edges.append(np.stack(np.nonzero(np.triu(adjacency, 1)), axis=1).astype(np.int32))
    return list(map(_clique, cpu.max_cliques(sizes, edges, size if size > 1 else 0, limit, workers)))


def _check_floor(graph: Graph, size: int, name: str, what: str) -> None:
    """Raise where a partial graph may lack edges of cliques of ``size``: it is complete from its ``min_clique`` on."""
    floor = int(graph.stats.get("min_clique", 0))
    if graph.partial and floor > size:
        raise ArgumentValueError(
            f"{name} must be at least the {what}'s min_clique={floor}, since the graph is partial, got {size}; "
            f"build the graph with min_clique={size}"
        )


def _clique(found: tuple[Any, int, int, bool, int]) -> Clique:
    members, lower, upper, proven, nodes = found  # the solvers return plain Python numbers
    # Equal to Clique(...), whose frozen fields take as long as the search of a sparse graph.
    clique = object.__new__(Clique)
    clique.__dict__.update(members=tuple(members), lower=lower, upper=upper, proven=proven, nodes=nodes)
    return clique


def _proven(members: tuple[int, ...]) -> Clique:
    return Clique(members, len(members), len(members), True)


def _reference(adjacency: NDArray[np.bool_]) -> tuple[int, ...]:
    from memcore.backends import reference

    return reference.max_clique(adjacency)


def _check_backend(backend: str) -> None:
    if backend not in ("auto", "cpu", "gpu", "reference"):
        raise ArgumentValueError(f"backend must be 'auto', 'cpu', 'gpu' or 'reference', got {backend!r}")


def _bits_on_gpu(graph: Any, backend: Backend) -> Any:
    """Return (n, W) bits of a matrix to be solved on its CUDA device, or None where the CPU solves it."""
    if not (interop.is_torch(graph) and graph.is_cuda):
        if backend == "gpu":
            raise DeviceError(
                "backend='gpu' needs an adjacency matrix on a CUDA device; call graph.cuda() first"
            )
        return None
    usable, reason = gpu_clique.available()
    if backend == "gpu" and not usable:
        raise DeviceError(f"backend='gpu' needs the core's CUDA part for cliques: {reason}")
    if backend not in ("auto", "gpu") or not usable:
        return None
    interop.check_dense(graph, "graph")
    _check_matrix(graph, str(graph.dtype).removeprefix("torch."))
    if len(graph) > gpu_clique.MAX_VERTICES:
        if backend == "auto":
            return None
        raise ArgumentValueError(
            f"graph must have at most {gpu_clique.MAX_VERTICES} vertices on a GPU, got {len(graph)}; "
            "backend='cpu' takes more"
        )
    return gpu_clique.pack(_check_tensor(graph))


def _check_tensor(graph: Any) -> Any:
    """Return a matrix as bool after the checks of ``_check_adjacency``, on the tensor's device."""
    import torch

    edges = graph != 0
    if bool(edges.diagonal().any()):
        raise ArgumentValueError(_DIAGONAL)
    if not torch.equal(edges, edges.mT):
        raise ArgumentValueError(_ASYMMETRIC)
    return edges


def _check_matrix(graph: Any, dtype: str) -> None:
    """Raise unless a NumPy array or a tensor, whose dtype has that name, is a square matrix of bool or uint8."""
    if dtype not in ("bool", "uint8"):
        raise ArgumentTypeError(f"graph must be an adjacency matrix of bool or uint8, got {dtype}")
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
        raise ArgumentValueError(
            f"graph must be an adjacency matrix of shape (n, n), got {tuple(graph.shape)}"
        )


def _check_adjacency(graph: Any) -> NDArray[np.bool_]:
    if not isinstance(graph, np.ndarray) and not hasattr(graph, "__dlpack__"):
        raise ArgumentTypeError(
            f"graph must be a memcore.Graph or an (n, n) adjacency matrix, got {type(graph).__name__}"
        )
    matrix, _, dtype, _ = interop.as_array(graph, "graph")
    _check_matrix(matrix, dtype)
    if interop.is_torch(matrix):  # on a device
        interop.check_in_memory(matrix, "graph")
        matrix = matrix.cpu().numpy()
    adjacency: NDArray[np.bool_] = matrix.astype(np.bool_, copy=False)
    if adjacency.diagonal().any():
        raise ArgumentValueError(_DIAGONAL)
    if not np.array_equal(adjacency, adjacency.T):
        raise ArgumentValueError(_ASYMMETRIC)
    return adjacency
