"""What type checkers say of the public functions' answers: ``make lint`` checks this file, nothing runs it.

An answer that became Any would be right by every other check, and would take the types out of a caller's program.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore.runs.finding_rows import FindingRows
from memcore.runs.folder import RunFolder
from memcore.runs.rows import FindingRow, MatchRow, QuarantineRow
from memcore.types import Neighbors, TensorNeighbors

if TYPE_CHECKING:
    import torch


def arrays(images: NDArray[np.uint8]) -> None:
    """NumPy in, NumPy out."""
    assert_type(memcore.pairwise_tiled_l2(images), NDArray[np.float32])
    assert_type(memcore.pairwise_tiled_l2(images, images, output="ssd"), NDArray[np.unsignedinteger[Any]])
    assert_type(memcore.to_uint8(images / 255), NDArray[np.uint8])
    near = memcore.knn(images, images, 3)
    assert_type(near, Neighbors)
    assert_type(near.indices, NDArray[np.int64])
    assert_type(near.distances, NDArray[np.float32])
    assert_type(memcore.knn(images, iter([images]), 3).indices, NDArray[np.int64])
    assert_type(memcore.tiled_l2_graph(images).edges, NDArray[np.int32])
    assert_type(memcore.find_cliques(memcore.tiled_l2_graph(images)), memcore.Cliques)


def tensors(images: torch.Tensor) -> None:
    """Tensors in, tensors out."""
    assert_type(memcore.pairwise_tiled_l2(images), torch.Tensor)
    assert_type(memcore.pairwise_tiled_l2(images, output="ssd"), torch.Tensor)
    assert_type(memcore.to_uint8(images), torch.Tensor)
    near = memcore.knn(images, images, 3)
    assert_type(near, TensorNeighbors)
    assert_type(near.indices, torch.Tensor)


def rows(run: Path) -> None:
    """A run is read as typed rows."""
    folder = RunFolder.open(run)
    assert_type(folder.findings(), FindingRows)
    ranked: list[FindingRow] = folder.findings()
    assert ranked
    assert_type(folder.findings()[0]["medoid_seed"], int | None)
    assert_type(folder.quarantine(), list[QuarantineRow])
    assert_type(folder.matches(), list[MatchRow] | None)
