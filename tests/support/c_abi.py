"""memcore.h through ctypes: structures, signatures, and calls that turn a status into an exception."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint64,
    c_void_p,
)
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore


class Images(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("data", c_void_p),
        *((name, c_size_t) for name in ("data_bytes", "offset", "count", "height", "width", "channels")),
        *((name, c_ssize_t) for name in ("image_stride", "row_stride", "column_stride", "channel_stride")),
    )


class Batch(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("data", c_void_p),
        *((name, c_size_t) for name in ("data_bytes", "offset")),
        ("type", c_int32),
        *((name, c_size_t) for name in ("batches", "count", "height", "width", "channels")),
        *((f"{name}_stride", c_ssize_t) for name in ("batch", "image", "row", "column", "channel")),
    )


class Rows(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("data", c_void_p),
        *((name, c_size_t) for name in ("data_bytes", "offset", "count", "dimension")),
        ("stride", c_ssize_t),
    )


class Clique(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("members", POINTER(c_int32)),
        ("size", c_size_t),
        ("lower", c_int64),
        ("upper", c_int64),
        ("proven", c_int32),
        ("nodes", c_int64),
    )


TYPES = {"uint8": 0, "float32": 1, "float16": 2, "bfloat16": 3}
STATUSES = (
    *("OK", "NULL", "VALUE", "OVERFLOW", "EXTENT", "STRIDES", "ISA", "MEMORY", "INTERNAL"),
    "CANCELLED",
)
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "status_name": (c_char_p, (c_int32,)),
    "last_error": (c_char_p, ()),
    "version": (c_char_p, ()),
    "abi_version": (c_int32, ()),
    "cancel_new": (c_int32, (POINTER(c_void_p),)),
    "cancel_use": (c_int32, (c_void_p,)),
    "cancel_set": (None, (c_void_p, c_int32)),
    "cancel_is_set": (c_int32, (c_void_p,)),
    "cancel_free": (None, (c_void_p,)),
    "isa_count": (c_size_t, ()),
    "isa_name": (c_char_p, (c_size_t,)),
    "isa_active": (c_int32, (POINTER(c_char_p),)),
    "isa_select": (c_int32, (c_char_p,)),
    "isa_selected": (c_char_p, ()),
    "usable_cpus": (c_int32, ()),
    "images_init": (c_int32, (POINTER(Images), c_void_p, *[c_size_t] * 4, c_int32)),
    "batch_init": (c_int32, (POINTER(Batch), c_void_p, c_int32, *[c_size_t] * 5, c_int32)),
    **{
        f"batch_tiled_l2{suffix}": (
            c_int32,
            (POINTER(Batch), POINTER(Batch), c_size_t, c_size_t, c_void_p, c_size_t, c_int32),
        )
        for suffix in ("", "_ssd", "_ssd32")
    },
    "tiled_l2_ssd": (
        c_int32,
        (POINTER(Images), POINTER(Images), c_size_t, c_size_t, c_void_p, c_size_t, c_int32),
    ),
    "tiled_l2_ssd32": (
        c_int32,
        (POINTER(Images), POINTER(Images), c_size_t, c_size_t, c_void_p, c_size_t, c_int32),
    ),
    "distance": (c_float, (c_uint64, c_uint64)),
    "ssd_max": (c_int32, (c_double, c_uint64, POINTER(c_uint64))),
    **{
        f"tiled_l2_{answer}": (
            c_int32,
            (POINTER(Images), c_size_t, c_size_t, c_uint64, c_size_t, c_int32, POINTER(c_void_p)),
        )
        for answer in ("graph", "edges")
    },
    "graph_edge_count": (c_size_t, (c_void_p,)),
    "graph_edges": (POINTER(c_int32), (c_void_p,)),
    "graph_ssd": (POINTER(c_uint64), (c_void_p,)),
    "graph_free": (None, (c_void_p,)),
    "graph_merge": (c_int32, (c_void_p, c_void_p, POINTER(c_void_p))),
    "features_new": (c_int32, (c_size_t, c_size_t, POINTER(c_void_p))),
    "features_append": (c_int32, (c_void_p, POINTER(Images), c_void_p, c_size_t, c_int32)),
    "features_count": (c_size_t, (c_void_p,)),
    "features_graph": (
        c_int32,
        (c_void_p, POINTER(Images), c_uint64, c_size_t, c_size_t, c_int32, POINTER(c_void_p)),
    ),
    "features_free": (None, (c_void_p,)),
    "max_cliques": (
        c_int32,
        (c_size_t, c_void_p, c_void_p, c_void_p, c_size_t, c_int64, c_int64, c_int32, POINTER(c_void_p)),
    ),
    "max_clique": (c_int32, (c_int64, c_void_p, c_size_t, c_int64, POINTER(c_void_p))),
    "find_cliques": (c_int32, (c_int64, c_void_p, c_size_t, c_int64, c_int64, POINTER(c_void_p))),
    "cliques_count": (c_size_t, (c_void_p,)),
    "cliques_upper_of_rest": (c_int64, (c_void_p,)),
    "cliques_get": (c_int32, (c_void_p, c_size_t, POINTER(Clique))),
    "cliques_free": (None, (c_void_p,)),
    "rows_init": (c_int32, (POINTER(Rows), c_void_p, c_size_t, c_size_t)),
    "knn": (c_int32, (POINTER(Rows), POINTER(Rows), c_size_t, c_void_p, c_void_p, c_size_t, c_int32)),
}


def load() -> Any:
    library = ctypes.CDLL(memcore.get_library())
    for name, (answer, arguments) in SIGNATURES.items():
        function = getattr(library, f"memcore_{name}")
        function.restype, function.argtypes = answer, arguments
    return library


LIBRARY = load()


class CError(Exception):
    def __init__(self, status: int) -> None:
        self.status = STATUSES[status]
        super().__init__(f"{self.status}: {LIBRARY.memcore_last_error().decode()}")


def check(status: int) -> None:
    if status:
        raise CError(status)


def as_images(array: NDArray[np.uint8], buffer: NDArray[np.uint8] | None = None) -> Images:
    """Describe (N, H, W, C) of any strides; ``buffer`` is the memory that it is a view of."""
    owner = array if buffer is None else buffer
    start = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return Images(
        ctypes.sizeof(Images), owner.ctypes.data, owner.nbytes, start, *array.shape, *map(int, array.strides)
    )


def as_rows(array: NDArray[np.uint8]) -> Rows:
    return Rows(ctypes.sizeof(Rows), array.ctypes.data, array.nbytes, 0, *array.shape, array.strides[0])


def ssd(a: Images, b: Images | None, tile: tuple[int, int], threads: int = 1) -> NDArray[np.uint64]:
    out = np.full((a.count, (b or a).count), 7, np.uint64)
    check(
        LIBRARY.memcore_tiled_l2_ssd(
            ctypes.byref(a), ctypes.byref(b) if b else None, *tile, out.ctypes.data, out.size, threads
        )
    )
    return out


def as_batch(array: NDArray[Any], kind: str | None = None) -> Batch:
    """Describe (B, N, H, W, C) of any strides; bfloat16 comes as uint16 with ``kind``."""
    return Batch(
        ctypes.sizeof(Batch),
        array.ctypes.data,
        array.nbytes,
        0,
        TYPES[kind or str(array.dtype)],
        *array.shape,
        *map(int, array.strides),
    )


def batch_distances(
    a: Batch, b: Batch | None, tile: tuple[int, int], dtype: Any = np.float32, threads: int = 1
) -> NDArray[Any]:
    """Return distances, or with an unsigned ``dtype`` the ssd."""
    names = {np.float32: "", np.uint64: "_ssd", np.uint32: "_ssd32"}
    out = np.full((a.batches, a.count, (b or a).count), 7, dtype)
    call = getattr(LIBRARY, f"memcore_batch_tiled_l2{names[dtype]}")
    check(call(ctypes.byref(a), ctypes.byref(b) if b else None, *tile, out.ctypes.data, out.size, threads))
    return out


def take_edges(made: c_void_p) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    n = LIBRARY.memcore_graph_edge_count(made)
    if n == 0:
        return np.empty((0, 2), np.int32), np.empty(0, np.uint64)
    edges = np.ctypeslib.as_array(LIBRARY.memcore_graph_edges(made), (n, 2)).copy()
    return edges, np.ctypeslib.as_array(LIBRARY.memcore_graph_ssd(made), (n,)).copy()


def graph(
    a: Images, tile: tuple[int, int], ssd_max: int, min_clique: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    made = c_void_p()
    check(LIBRARY.memcore_tiled_l2_graph(ctypes.byref(a), *tile, ssd_max, min_clique, 1, ctypes.byref(made)))
    try:
        return take_edges(made)
    finally:
        LIBRARY.memcore_graph_free(made)


def edges_alone(a: Images, tile: tuple[int, int], ssd_max: int, min_clique: int = 0) -> NDArray[np.int32]:
    made = c_void_p()
    check(LIBRARY.memcore_tiled_l2_edges(ctypes.byref(a), *tile, ssd_max, min_clique, 1, ctypes.byref(made)))
    try:
        n = LIBRARY.memcore_graph_edge_count(made)
        assert not LIBRARY.memcore_graph_ssd(made)
        if n == 0:
            return np.empty((0, 2), np.int32)
        return np.ctypeslib.as_array(LIBRARY.memcore_graph_edges(made), (n, 2)).copy()
    finally:
        LIBRARY.memcore_graph_free(made)


class GrowingGraph:
    """A growing graph as a C program makes it with memcore_features: PromptGraph without Python."""

    def __init__(self, tile: tuple[int, int], ssd_max: int) -> None:
        self.ssd_max, self.graph, self.features = ssd_max, c_void_p(), c_void_p()
        check(LIBRARY.memcore_features_new(*tile, ctypes.byref(self.features)))

    def extend(self, kept: NDArray[np.uint8], since: int, fresh: NDArray[np.uint8]) -> None:
        """Copy ``fresh`` to kept[since : since + len(fresh)], and decide its pairs."""
        place = kept[since : since + len(fresh)]
        x, everything = as_images(fresh), as_images(kept[: since + len(fresh)])
        check(
            LIBRARY.memcore_features_append(
                self.features, ctypes.byref(x), place.ctypes.data, place.nbytes, 2
            )
        )
        new, merged = c_void_p(), c_void_p()
        check(
            LIBRARY.memcore_features_graph(
                self.features, ctypes.byref(everything), self.ssd_max, since, 0, 1, ctypes.byref(new)
            )
        )
        check(LIBRARY.memcore_graph_merge(self.graph, new, ctypes.byref(merged)))
        LIBRARY.memcore_graph_free(self.graph)
        LIBRARY.memcore_graph_free(new)
        self.graph = merged

    def close(self) -> None:
        LIBRARY.memcore_graph_free(self.graph)
        LIBRARY.memcore_features_free(self.features)


Found = tuple[list[int], int, int, bool, int]


def take_cliques(made: c_void_p) -> list[Found]:
    """Return tuples as memcore._core gives them, and free the cliques."""
    found = []
    for k in range(LIBRARY.memcore_cliques_count(made)):
        clique = Clique(ctypes.sizeof(Clique))
        check(LIBRARY.memcore_cliques_get(made, k, ctypes.byref(clique)))
        members = clique.members[: clique.size]
        found.append((members, clique.lower, clique.upper, bool(clique.proven), clique.nodes))
    return found


def cliques(
    n: int, edges: NDArray[np.int32], min_size: int | None = None, node_limit: int = 10_000_000
) -> tuple[list[Found], int]:
    """Call memcore_find_cliques, or without ``min_size`` memcore_max_clique; return the upper bound of the rest, too."""
    made = c_void_p()
    data = edges.ctypes.data if len(edges) else None
    middle = () if min_size is None else (min_size,)
    call = LIBRARY.memcore_max_clique if min_size is None else LIBRARY.memcore_find_cliques
    check(call(n, data, len(edges), *middle, node_limit, ctypes.byref(made)))
    found, rest = take_cliques(made), LIBRARY.memcore_cliques_upper_of_rest(made)
    LIBRARY.memcore_cliques_free(made)
    return found, rest


def max_cliques(
    sizes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    edges: NDArray[np.int32],
    min_size: int = 0,
    node_limit: int = 10_000_000,
    threads: int = 1,
) -> list[Found]:
    made = c_void_p()
    check(
        LIBRARY.memcore_max_cliques(
            len(sizes),
            sizes.ctypes.data if len(sizes) else None,
            offsets.ctypes.data,
            edges.ctypes.data if len(edges) else None,
            len(edges),
            min_size,
            node_limit,
            threads,
            ctypes.byref(made),
        )
    )
    found = take_cliques(made)
    LIBRARY.memcore_cliques_free(made)
    return found


def knn(
    queries: Rows, corpus: Rows, k: int, threads: int = 1
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    ssd = np.zeros((queries.count, k), np.uint64)
    index = np.zeros((queries.count, k), np.int64)
    check(
        LIBRARY.memcore_knn(
            ctypes.byref(queries),
            ctypes.byref(corpus),
            k,
            ssd.ctypes.data,
            index.ctypes.data,
            ssd.size,
            threads,
        )
    )
    return ssd, index


def ssd_max(threshold: float, tile_bytes: int) -> int:
    answer = c_uint64()
    check(LIBRARY.memcore_ssd_max(threshold, tile_bytes, ctypes.byref(answer)))
    return answer.value
