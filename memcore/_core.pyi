"""The native core.

It checks arguments only so that nothing is read or written outside an array; the Python layer has the readable messages.
"""

from __future__ import annotations

from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")

MAX_BYTES_UINT32: int

class GraphStats(TypedDict):
    pairs: int
    candidates: int
    core: int
    certain: int
    by_pivots: int
    tiles_checked: int
    features_images: int
    dense_images: int
    dense: bool
    features_s: float
    bounds_s: float
    verify_s: float

class CudaStatus(TypedDict):
    built: bool
    available: bool
    reason: str

# bind/isa.cpp
def isa_available() -> list[str]: ...
def isa_active() -> str: ...
def isa_set(name: str | None) -> None: ...
def isa_override() -> str | None: ...
def usable_cpus() -> int: ...
def multiply_add_peak(iterations: int) -> float: ...
def read_bandwidth(array: NDArray[np.uint8]) -> float: ...

# bind/tiled_l2.cpp
def tiled_l2_ssd(
    images: NDArray[np.uint8],
    other: NDArray[np.uint8] | None,
    tile_h: int,
    tile_w: int,
    out: NDArray[np.unsignedinteger[Any]],
    threads: int = 0,
) -> None: ...
def tiled_l2_float(
    images: NDArray[Any],
    other: NDArray[Any] | None,
    tile_h: int,
    tile_w: int,
    out: NDArray[np.float32],
    threads: int = 0,
    bfloat16: bool = False,
) -> None: ...
def check_unit_interval(array: NDArray[Any], bfloat16: bool = False) -> int: ...

# bind/graph.cpp
class Candidates:
    @property
    def images(self) -> NDArray[np.int64]: ...

class Features:
    def __init__(self, tile_h: int, tile_w: int, expected: int = 0) -> None: ...
    def append(
        self, images: NDArray[np.uint8], threads: int = 1, copies: NDArray[np.uint8] | None = None
    ) -> None: ...
    def append_one(self, image: NDArray[np.uint8], copy: NDArray[np.uint8] | None = None) -> bool: ...
    def read(
        self,
        descriptor: int,
        offset: int,
        count: int,
        height: int,
        width: int,
        channels: int,
        threads: int = 1,
    ) -> NDArray[np.bool_]: ...
    def screen(self, ssd_max: int, threads: int = 1, since: int = 0) -> Candidates: ...
    def decide(
        self, candidates: Candidates, images: NDArray[np.uint8], places: NDArray[np.uint32]
    ) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]], GraphStats]: ...
    def first_mismatch(
        self, images: NDArray[np.uint8], indices: NDArray[np.int64], threads: int = 1
    ) -> int: ...
    def __len__(self) -> int: ...

def tiled_l2_graph(
    images: NDArray[np.uint8],
    tile_h: int,
    tile_w: int,
    ssd_max: int,
    threads: int = 0,
    min_clique: int = 0,
    features: Features | None = None,
    since: int = 0,
    sums: bool = True,
) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]], GraphStats]: ...

# bind/knn.cpp
def knn(
    queries: NDArray[np.uint8], corpus: NDArray[np.uint8], k: int, threads: int = 0
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]: ...
def knn_extend(
    queries: NDArray[np.uint8],
    corpus: NDArray[np.uint8],
    ssd: NDArray[np.unsignedinteger[Any]],
    index: NDArray[np.int64],
    have: int,
    rows: int,
    threads: int = 0,
) -> int: ...

# bind/index.cpp
def index_sketch(
    images: NDArray[np.uint8], rows: int, columns: int, threads: int = 0
) -> NDArray[np.uint8]: ...

# (centres, centre_limits, points, limits, corpus)
_Level = tuple[NDArray[Any], ...]

def index_range(
    coarse: _Level,
    fine: _Level,
    offsets: NDArray[np.int64],
    max_hits: int,
    threads: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]] | None: ...
def index_pair_ssd(
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    threads: int = 0,
) -> NDArray[np.uint64]: ...

# bind/cuda.cpp
def cuda_status() -> CudaStatus: ...
def cuda_error(error: int) -> str: ...
def cuda_max_clique_workspace(device: int, n: int, graphs: int) -> int: ...
def cuda_max_clique(
    device: int,
    stream: int,
    adjacency: int,
    n: int,
    graphs: int,
    min_size: int,
    node_limit: int,
    members: int,
    bounds: int,
    workspace: int,
) -> int: ...
def cuda_has_clique_workspace(n: int, graphs: int) -> int: ...
def cuda_has_clique(
    device: int,
    stream: int,
    adjacency: int,
    slots: int,
    n: int,
    graphs: int,
    min_size: int,
    node_limit: int,
    answers: int,
    workspace: int,
) -> int: ...

# bind/clique.cpp: an answer is (members, lower, upper, proven, nodes)
_Clique = tuple[list[int], int, int, bool, int]

def max_clique(n: int, edges: NDArray[np.int32], node_limit: int) -> _Clique: ...
def max_clique_as(type: type[_T], n: int, edges: NDArray[np.int32], node_limit: int, /) -> _T | None: ...
def max_clique_adjacency(adjacency: NDArray[np.bool_], node_limit: int) -> _Clique: ...
def find_cliques(
    n: int, edges: NDArray[np.int32], min_size: int, node_limit: int
) -> tuple[list[_Clique], int]: ...
def max_cliques(
    sizes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    edges: NDArray[np.int32],
    node_limit: int,
    threads: int,
    min_size: int = 0,
) -> list[_Clique]: ...
