"""Find near-duplicates by embeddings: exact groups of rows by their cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from memcore.duplicates.groups import Components
from memcore.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError

#: Rows that are multiplied with all later ones at a time.
_BLOCK = 4096

Engine = Literal["exact", "faiss"]
ENGINES: tuple[str, ...] = get_args(Engine)

Embeddings: TypeAlias = NDArray[np.floating[Any]]
_Rows: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float64]]
#: Pairs (earlier row, later row) that may be near, and what gives either side's unit vectors.
_Near: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], _Rows, _Rows]


def group_embeddings(embeddings: Any, threshold: float, *, engine: Engine = "exact") -> NDArray[np.int64]:
    """Return the smallest row of each row's group, (N,) int64, for ``embeddings`` (N, D), a float array or memory map.

    Rows are duplicates if their cosine is at least ``threshold``. float32 products, with a margin for their rounding, rule
    out most pairs; a float64 sum decides the others. With ``engine`` "faiss" the products are those of faiss's flat index,
    which holds all rows as float32; margin and decision are the same, and so are the groups.

    Raises ArgumentTypeError, ArgumentValueError (a row of zeros or with NaN), MissingExtraError without faiss.

    >>> import numpy as np
    >>> group_embeddings(np.array([[1, 0], [0, 1], [2, 0.1], [0, 3]], np.float32), 0.99).tolist()
    [0, 1, 0, 1]
    """
    if isinstance(embeddings, np.ma.MaskedArray):
        raise ArgumentTypeError(
            "embeddings must not be masked, since the mask would be ignored; leave the masked rows out"
        )
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype.kind != "f":
        raise ArgumentTypeError(f"embeddings must be a float array (N, D), got {type(embeddings).__name__}")
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ArgumentValueError(f"embeddings must have the shape (N, D), got {embeddings.shape}")
    if not -1 <= threshold <= 1:
        raise ArgumentValueError(f"threshold must be a cosine in [-1, 1], got {threshold}")
    n, d = embeddings.shape
    if engine not in ENGINES:
        raise ArgumentValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    groups = Components(n)
    margin = (d + 4) * 2.0**-23  # a sum of d products of unit vectors, each factor rounded to float32
    near_pairs = _faiss_pairs if engine == "faiss" else _pairs
    for i, j, left, right in near_pairs(embeddings, threshold - margin):
        separate = groups.find(i) != groups.find(j)
        i, j = i[separate], j[separate]
        for at in range(0, len(i), _BLOCK):
            x, y = i[at : at + _BLOCK], j[at : at + _BLOCK]
            near = (left(x) * right(y)).sum(axis=1) >= threshold
            groups.connect(x[near], y[near])
    return groups.labels()


def _pairs(embeddings: Embeddings, least: float) -> Iterator[_Near]:
    """Yield pairs of rows whose float32 product is at least ``least``, block by block."""
    n = len(embeddings)
    for a in range(0, n, _BLOCK):
        left = _unit(embeddings, a)
        for b in range(a, n, _BLOCK):
            right = left if a == b else _unit(embeddings, b)
            products = left.astype(np.float32) @ right.astype(np.float32).T
            i, j = np.nonzero(products >= least)
            later = j + b > i + a
            yield i[later] + a, j[later] + b, _take(left, a), _take(right, b)


def _faiss_pairs(embeddings: Embeddings, least: float) -> Iterator[_Near]:
    """Yield the pairs of ``_pairs`` from a flat index that grows: each block is compared with all rows up to its end."""
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss-cpu", "faiss", "engine='faiss'") from None
    index = faiss.IndexFlatIP(embeddings.shape[1])
    for a in range(0, len(embeddings), _BLOCK):
        block = _unit(embeddings, a)
        index.add(block.astype(np.float32))
        # the search is strict and rounds its radius to float32: the next smaller one misses nothing
        radius = np.nextafter(np.float32(least), np.float32(-2))
        limits, _, found = index.range_search(block.astype(np.float32), float(radius))
        j = np.repeat(np.arange(len(block), dtype=np.int64), (limits[1:] - limits[:-1]).astype(np.int64)) + a
        earlier = found < j
        yield found[earlier], j[earlier], lambda rows: _unit_rows(embeddings, rows), _take(block, a)


def _take(block: NDArray[np.float64], start: int) -> _Rows:
    return lambda rows: block[rows - start]


def _unit(embeddings: Embeddings, start: int) -> NDArray[np.float64]:
    return _unit_rows(embeddings, np.arange(start, min(start + _BLOCK, len(embeddings))))


def _unit_rows(embeddings: Embeddings, which: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = np.asarray(embeddings[which], dtype=np.float64)
    norms = np.sqrt((rows * rows).sum(axis=1))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise ArgumentValueError(f"embeddings must have no row of zeros or NaN, got one at {which[bad[0]]}")
    unit: NDArray[np.float64] = rows / norms[:, None]
    return unit
