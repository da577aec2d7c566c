"""Find near-duplicates by embeddings: exact groups of rows by their cosine."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from memcore.duplicates.groups import Components
from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError, MissingExtraError
from memcore.sources.npy_file import fill
from memcore.system.plain_files import open_plain

#: Rows that are multiplied with all later ones at a time.
_BLOCK = 4096

Engine = Literal["exact", "faiss"]
ENGINES: tuple[str, ...] = get_args(Engine)

_Rows: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float64]]
#: Pairs (earlier row, later row) that may be near, and what gives either side's unit vectors.
_Near: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], _Rows, _Rows]


class EmbeddingsFile:
    """An .npy file (N, D) of which rows are read when they are needed. It is not mapped: it may be cut meanwhile.

    Raises ConfigError if it is not one, or changes while it is read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with open_plain(path) as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                self.shape, fortran, self.dtype = read(file)
                self._offset = file.tell()
                self._state = _state(os.fstat(file.fileno()))
        except Exception as error:  # NumPy parses a header as Python, which raises many kinds
            raise self._wrong(f"it cannot be read ({type(error).__name__}: {error})") from None
        self.ndim = len(self.shape)
        if self.dtype.hasobject or (fortran and self.ndim > 1):
            raise self._wrong("it must hold numbers, row by row")
        if self._state[0] != self._offset + self.dtype.itemsize * math.prod(self.shape):
            raise self._wrong(
                f"it has {self._state[0]} bytes, which is not what its header says: {self.shape}"
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.shape[0])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return some rows, in the order in which they are given."""
        size = self.dtype.itemsize * int(self.shape[1])
        out = np.empty((len(rows), size), np.uint8)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(rows) != 1) + 1, [len(rows)]])
        try:
            with self._path.open("rb", buffering=0) as file:
                for first, last in itertools.pairwise(starts.tolist()):
                    if first == last:
                        continue
                    file.seek(self._offset + int(rows[first]) * size)
                    if fill(file, out[first:last]) < (last - first) * size:
                        raise self._wrong("it was cut while it was read")
                if _state(os.fstat(file.fileno())) != self._state:
                    raise self._wrong("it was changed while it was read")
        except OSError as error:
            raise self._wrong(f"it cannot be read ({error})") from None
        return out.view(self.dtype)

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"embeddings={self._path}: {what}")


def _state(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_size, about.st_mtime_ns, about.st_ino


Embeddings: TypeAlias = "NDArray[np.floating[Any]] | EmbeddingsFile"


def group_embeddings(embeddings: Any, threshold: float, *, engine: Engine = "exact") -> NDArray[np.int64]:
    """Return the smallest row of each row's group, (N,) int64.

    ``embeddings`` (N, D) is a float array, a memory map or an ``EmbeddingsFile``. Rows are duplicates if their cosine is at
    least ``threshold``. float32 products, with a margin for their rounding, rule out most pairs; a float64 sum decides the
    others. With ``engine`` "faiss" the products are those of faiss's flat index, which holds all rows as float32; margin and
    decision are the same, and so are the groups.

    Raises ArgumentTypeError, ArgumentValueError (a row of zeros or with NaN), MissingExtraError without faiss.

    >>> import numpy as np
    >>> group_embeddings(np.array([[1, 0], [0, 1], [2, 0.1], [0, 3]], np.float32), 0.99).tolist()
    [0, 1, 0, 1]
    """
    if isinstance(embeddings, np.ma.MaskedArray):
        raise ArgumentTypeError(
            "embeddings must not be masked, since the mask would be ignored; leave the masked rows out"
        )
    if not isinstance(embeddings, np.ndarray | EmbeddingsFile) or embeddings.dtype.kind != "f":
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
