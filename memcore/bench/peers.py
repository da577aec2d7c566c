"""The libraries that the benchmarks compare with: how each is imported, and how it does the same work.

Every dense peer takes uint8 images (N, H, W, C) and a tile, and returns (N, N) distances in [0, 1], so that
all do the whole work; the conversion to float32 is part of it, since generated images are uint8.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from memcore._install import install_command
from memcore.backends import reference
from memcore.errors import MissingExtraError

Matrix = NDArray[Any]
DensePeer = Callable[[NDArray[np.uint8], tuple[int, int]], Matrix]

#: Import name -> distribution that pip installs.
DISTRIBUTIONS = {
    "kornia_rs": "kornia-rs",
    "pyarrow": "pyarrow",
    "simplejpeg": "simplejpeg",
    "PIL": "pillow",
    "cliquematch": "cliquematch",
    "faiss": "faiss-cpu",
    "igraph": "igraph",
    "networkit": "networkit",
    "networkx": "networkx",
    "numkong": "numkong",
    "numpy": "numpy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
    "torch": "torch",
}


def missing(module: str) -> str | None:
    """Return None if ``module`` is installed, else the line that says how to install it."""
    top = module.partition(".")[0]
    if importlib.util.find_spec(top) is not None:
        return None
    return f"{DISTRIBUTIONS[top]} is not installed: {install_command('bench')}"


def load(module: str, purpose: str = "memcore bench") -> Any:
    """Return the imported module; raise MissingExtraError with the command that installs it if it is not there."""
    if missing(module) is not None:
        raise MissingExtraError(DISTRIBUTIONS[module.partition(".")[0]], "bench", purpose)
    return importlib.import_module(module)


def version(module: str) -> str | None:
    """Return the installed version, or None."""
    try:
        return importlib.metadata.version(DISTRIBUTIONS[module])
    except importlib.metadata.PackageNotFoundError:
        return None


def tiles(images: NDArray[np.uint8], tile: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Yield one tile of all images at a time, (N, K) uint8: the order in which a careful user of a GEMM works."""
    n, h, w, c = images.shape
    for y in range(0, h, tile[0]):
        for x in range(0, w, tile[1]):
            yield np.ascontiguousarray(images[:, y : y + tile[0], x : x + tile[1]]).reshape(
                n, tile[0] * tile[1] * c
            )


def _scaled(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
    return tile.astype(np.float32) * np.float32(1 / 255)


def _finish(largest: Matrix, tile_values: int) -> Matrix:
    """Turn the largest squared l2 of values in [0, 1] into a distance."""
    return np.sqrt(np.maximum(largest, 0) / tile_values)


def numpy_gemm(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Compute x^2 + y^2 - 2xy in float32, with one GEMM a tile."""
    n = len(images)
    largest = np.zeros((n, n), dtype=np.float32)
    for cut in tiles(images, tile):
        x = _scaled(cut)
        square = np.einsum("ij,ij->i", x, x)
        np.maximum(largest, square[:, None] + square - 2 * (x @ x.T), out=largest)
    return _finish(largest, cut.shape[1])


def torch_cdist(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Call torch.cdist in float32, once a tile."""
    torch = load("torch")
    largest = torch.zeros(len(images), len(images))
    for cut in tiles(images, tile):
        x = torch.from_numpy(cut).float() / 255
        largest = torch.maximum(largest, torch.cdist(x, x))
    answer: Matrix = largest.numpy() / np.float32(np.sqrt(cut.shape[1]))
    return answer


def faiss_pairwise(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Call faiss.pairwise_distances in float32, once a tile."""
    faiss = load("faiss")
    largest = np.zeros((len(images), len(images)), dtype=np.float32)
    for cut in tiles(images, tile):
        x = _scaled(cut)
        np.maximum(largest, faiss.pairwise_distances(x, x), out=largest)
    return _finish(largest, cut.shape[1])


def faiss_flat(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Search faiss.IndexFlatL2 for all N neighbours, once a tile."""
    faiss = load("faiss")
    n = len(images)
    largest = np.zeros((n, n), dtype=np.float32)
    for cut in tiles(images, tile):
        x = _scaled(cut)
        index = faiss.IndexFlatL2(cut.shape[1])
        index.add(x)
        values, order = index.search(x, n)
        square = np.empty_like(values)
        np.put_along_axis(square, order, values, 1)
        np.maximum(largest, square, out=largest)
    return _finish(largest, cut.shape[1])


def numkong_dots(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Call numkong.dots_symmetric on uint8, exact, and compute the rest in NumPy: the peer to beat."""
    numkong = load("numkong")
    n = len(images)
    largest = np.zeros((n, n), dtype=np.int64)
    for cut in tiles(images, tile):
        # Only the upper triangle of the product is set.
        dots = np.asarray(numkong.dots_symmetric(cut)).astype(np.int64)
        square = dots.diagonal()
        np.maximum(largest, square[:, None] + square - 2 * dots, out=largest)
    upper = np.triu(largest, 1)
    distances: Matrix = np.sqrt((upper + upper.T) / (cut.shape[1] * 255**2))
    return distances


def numkong_packed(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Call numkong.dots_packed on uint8: all products, each pair twice, by its kernels for packed columns."""
    numkong = load("numkong")
    largest = np.zeros((len(images), len(images)), dtype=np.int64)
    for cut in tiles(images, tile):
        dots = np.asarray(numkong.dots_packed(cut, numkong.dots_pack(cut))).astype(np.int64)
        square = dots.diagonal()
        np.maximum(largest, square[:, None] + square - 2 * dots, out=largest)
    distances: Matrix = np.sqrt(largest / (cut.shape[1] * 255**2))
    return distances


def torch_int8(images: NDArray[np.uint8], tile: tuple[int, int]) -> Matrix:
    """Call torch._int_mm on bytes minus 128, exact: oneDNN's int8 product, on matrix units where there are some."""
    torch = load("torch")
    largest = torch.zeros(len(images), len(images), dtype=torch.int64)
    for cut in tiles(images, tile):
        x = torch.from_numpy(cut ^ np.uint8(128)).view(torch.int8)
        dots = torch._int_mm(x, x.T).long()
        square = dots.diagonal()
        largest = torch.maximum(largest, square[:, None] + square - 2 * dots)
    distances: Matrix = np.sqrt(largest.numpy() / (cut.shape[1] * 255**2))
    return distances


class Peer(NamedTuple):
    """A named way to do the dense work: the module it needs and the function."""

    name: str
    module: str
    run: DensePeer


DENSE = (
    Peer("numkong dots_symmetric", "numkong", numkong_dots),
    Peer("numpy float32 GEMM", "numpy", numpy_gemm),
    Peer("numkong dots_packed", "numkong", numkong_packed),
    Peer("torch._int_mm", "torch", torch_int8),
    Peer("faiss pairwise_distances", "faiss", faiss_pairwise),
    Peer("faiss IndexFlatL2", "faiss", faiss_flat),
    Peer("torch.cdist", "torch", torch_cdist),
)


class Search(Protocol):
    """queries (Q, D) uint8 -> squared l2 (Q, k) in units of uint8 steps, indices (Q, k)."""

    def __call__(self, queries: NDArray[np.uint8], k: int) -> tuple[Matrix, Matrix]:
        """Search."""
        ...


class KnnPeer(NamedTuple):
    """A named search: ``build`` takes the corpus (N, D) uint8, untimed, and returns what is timed."""

    name: str
    module: str
    build: Callable[[NDArray[np.uint8]], Search]


def faiss_search(corpus: NDArray[np.uint8]) -> Search:
    """Build faiss.IndexFlatL2 over float32."""
    index = load("faiss").IndexFlatL2(corpus.shape[1])
    index.add(corpus.astype(np.float32))

    def search(queries: NDArray[np.uint8], k: int) -> tuple[Matrix, Matrix]:
        values, order = index.search(queries.astype(np.float32), k)
        return values, order

    return search


def torch_search(corpus: NDArray[np.uint8]) -> Search:
    """Return a search with one float32 matmul and one topk for each 256 queries."""
    torch = load("torch")
    rows = torch.from_numpy(corpus).float()
    square = (rows * rows).sum(1)

    def search(queries: NDArray[np.uint8], k: int) -> tuple[Matrix, Matrix]:
        values, order = [], []
        for start in range(0, len(queries), 256):
            x = torch.from_numpy(queries[start : start + 256]).float()
            found = torch.topk(torch.addmm(square, x, rows.T, alpha=-2), k, dim=1, largest=False)
            values.append((found.values + (x * x).sum(1, keepdim=True)).numpy())
            order.append(found.indices.numpy())
        return np.concatenate(values), np.concatenate(order)

    return search


def numpy_search(corpus: NDArray[np.uint8]) -> Search:
    """Return a search with one float32 GEMM, argpartition and a sort of k for each 256 queries."""
    rows = corpus.astype(np.float32)
    square = np.einsum("ij,ij->i", rows, rows)

    def search(queries: NDArray[np.uint8], k: int) -> tuple[Matrix, Matrix]:
        values, order = [], []
        for start in range(0, len(queries), 256):
            x = queries[start : start + 256].astype(np.float32)
            far = square - 2 * (x @ rows.T)
            near = np.argpartition(far, k - 1, axis=1)[:, :k]
            kept = np.take_along_axis(far, near, 1)
            rank = np.argsort(kept, axis=1, kind="stable")
            values.append(np.take_along_axis(kept, rank, 1) + np.einsum("ij,ij->i", x, x)[:, None])
            order.append(np.take_along_axis(near, rank, 1))
        return np.concatenate(values), np.concatenate(order)

    return search


KNN = (
    KnnPeer("faiss IndexFlatL2", "faiss", faiss_search),
    KnnPeer("torch matmul + topk", "torch", torch_search),
    KnnPeer("numpy float32 GEMM", "numpy", numpy_search),
)


def oracle_rows(
    images: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64], tile: tuple[int, int]
) -> NDArray[np.unsignedinteger[Any]]:
    """Return the int64 oracle's ssd of some rows against some columns, where all pairs would take too long."""
    ssd: NDArray[np.unsignedinteger[Any]] = reference.tiled_l2_ssd(
        images[rows][None], images[columns][None], tile
    )[0]
    return ssd
