"""Exact k nearest neighbours of uint8 rows, by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.arrays import ImageArray
from memcore.backends import reference
from memcore.distance import choose_backend, ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.types import Backend, Neighbors, TensorNeighbors

if TYPE_CHECKING:
    import torch

#: Bytes of a corpus that all queries are compared with before the next are read: a memory map is read once, in order.
_BLOCK_BYTES = 256 << 20


@overload
def knn(
    queries: NDArray[Any],
    corpus: NDArray[Any] | Iterable[NDArray[Any]],
    k: int,
    *,
    backend: Backend = "auto",
    threads: int | None = None,
) -> Neighbors: ...


@overload
def knn(
    queries: torch.Tensor,
    corpus: torch.Tensor | Iterable[torch.Tensor],
    k: int,
    *,
    backend: Backend = "auto",
    threads: int | None = None,
) -> TensorNeighbors: ...


@overload
def knn(
    queries: Any, corpus: Any, k: int, *, backend: Backend = "auto", threads: int | None = None
) -> Neighbors: ...


def knn(queries: Any, corpus: Any, k: int, *, backend: Backend = "auto", threads: int | None = None) -> Any:
    """Return the k rows of ``corpus`` nearest to each row of ``queries`` in l2, exactly; ties go to the smaller index.

    Parameters
    ----------
    queries
        (Q, D) uint8, or images (Q, H, W, C), which are compared as flat rows, pixel for pixel. NumPy or torch, on the
        CPU or a CUDA device.
    corpus
        (N, D) or (N, H, W, C) with rows of the same shape, in the same order of channels. A corpus larger than memory
        may be a NumPy memory map, or an iterator of arrays with any number of rows each: neither is held as a whole, each
        row is read once, and indices count the rows in the order in which they come.
    k
        1 <= k <= N; at most 128 on a CUDA device, where the corpus is one tensor.
    backend, threads
        As in ``pairwise_tiled_l2``.

    Returns
    -------
    Neighbors
        distances (Q, k) float32: l2 = sqrt(ssd / (D * 255^2)) in [0, 1]; indices (Q, k) int64; ssd (Q, k). They do not
        depend on how the corpus is cut into blocks.

    Raises
    ------
    ArgumentTypeError
        An array's kind or dtype is not accepted.
    ArgumentValueError
        A shape or ``k`` cannot be used.
    DeviceError
        The arrays are on different devices, or on one that the backend cannot reach.

    References
    ----------
    Carlini et al. 2023, sections 4.1 (l2) and 5.1 (the n = 50 nearest training images).

    Examples
    --------
    >>> import numpy as np, memcore
    >>> corpus = np.array([[0, 0], [255, 255], [10, 0]], dtype=np.uint8)
    >>> memcore.knn(corpus[:1], corpus, 2).indices
    array([[0, 2]])
    >>> memcore.knn(corpus[:1], iter([corpus[:2], corpus[2:]]), 2).indices
    array([[0, 2]])
    """
    workers = arrays.check_threads(threads)
    left = arrays.as_rows(queries, "queries")
    chosen = choose_backend(backend, left)
    count = arrays.check_count(k, "k", 1)
    if chosen == "gpu":
        return _on_gpu(left, corpus, count)
    q, d = left.pixels.shape
    blocks = _blocks(corpus, count)
    what = f"{count} neighbours of each query: ask for fewer at a time"
    ssd = arrays.allocate((q, count), arrays.ssd_dtype(d), what)
    indices = arrays.allocate((q, count), np.int64, what)
    have = rows = 0
    for block in blocks:
        part = arrays.as_rows(block, "corpus")
        _check_block(left, part)
        if chosen == "reference":
            have = _reference(left.pixels, part.pixels, ssd, indices, have, rows)
        else:
            from memcore.backends import cpu

            have = cpu.knn_extend(left.pixels, part.pixels, ssd, indices, have, rows, workers)
        rows += len(part.pixels)
    if have < count:
        raise ArgumentValueError(_too_many(rows, count))
    return Neighbors(left.give_back(ssd_to_distance(ssd, d)), left.give_back(indices), left.give_back(ssd))


def _blocks(corpus: Any, k: int) -> Iterable[Any]:
    """Return the corpus in blocks; where its length is known, check it before any work is done."""
    if isinstance(corpus, Iterator):
        return corpus
    if isinstance(corpus, np.ndarray) and corpus.ndim >= 2 and corpus.size:
        if len(corpus) < k:
            raise ArgumentValueError(_too_many(len(corpus), k))
        step = max(1, _BLOCK_BYTES // (corpus.nbytes // len(corpus)))
        return (corpus[start : start + step] for start in range(0, len(corpus), step))
    if arrays.is_torch(corpus) and not corpus.is_nested and corpus.ndim >= 2 and len(corpus) < k:
        raise ArgumentValueError(_too_many(len(corpus), k))
    return iter((corpus,))


def _on_gpu(left: ImageArray, corpus: Any, k: int) -> Neighbors:
    """Search on a CUDA device, which holds queries and corpus as a whole."""
    from memcore.backends import gpu

    right = arrays.as_rows(corpus, "corpus")
    _check_block(left, right)
    n, d = right.pixels.shape
    if n < k:
        raise ArgumentValueError(_too_many(n, k))
    ssd, indices = gpu.knn(left.pixels, right.pixels, k)
    tensors: tuple[Any, Any, Any] = (gpu.to_distances(ssd, d), indices, ssd)
    return Neighbors(*tensors)


def _check_block(left: ImageArray, right: ImageArray) -> None:
    if left.device != right.device:
        raise DeviceError(f"corpus must be on the same device as queries ({left.device}), got {right.device}")
    if left.library != right.library:
        raise ArgumentTypeError(
            f"corpus must be of the same library as queries ({left.library}), got {right.library}"
        )
    if tuple(left.source.shape[1:]) != tuple(right.source.shape[1:]):
        raise ArgumentValueError(
            f"corpus must have rows of the same shape as queries {tuple(left.source.shape[1:])}, "
            f"got {tuple(right.source.shape[1:])}"
        )


def _reference(
    queries: NDArray[np.uint8],
    part: NDArray[np.uint8],
    ssd: NDArray[Any],
    indices: NDArray[np.int64],
    have: int,
    rows: int,
) -> int:
    """Do what ``cpu.knn_extend`` does: earlier rows come first, and a stable sort keeps them there in a tie."""
    k = ssd.shape[1]
    new, place = reference.knn(queries, part, min(k, len(part)))
    every = np.concatenate([ssd[:, :have], new.astype(ssd.dtype)], axis=1)
    index = np.concatenate([indices[:, :have], place + rows], axis=1)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    have = order.shape[1]
    ssd[:, :have] = np.take_along_axis(every, order, 1)
    indices[:, :have] = np.take_along_axis(index, order, 1)
    return have


def _too_many(rows: int, k: int) -> str:
    return f"k must be at most the number of rows of corpus, {rows}, got {k}"
