"""Which rows of a batch go to which slot: runs of rows, so that nothing is done for each image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: Numbers of generations that follow each other in a batch.
Numbers: TypeAlias = "range | NDArray[np.int64]"


class SlotRun(NamedTuple):
    """``length`` images of one slot that follow each other in a batch, from row ``first`` on."""

    slot: int
    first: int
    length: int


def select(
    pixels: Any, runs: list[SlotRun], keep: NDArray[np.bool_] | None, generated: Sequence[int]
) -> tuple[Any, list[SlotRun], list[Numbers]]:
    """Return the images that are kept, the runs that name all of them in order, and each run's generation numbers.

    ``keep`` marks rows (M,), None for all; ``generated`` is how many generations each slot has before.
    """
    done: dict[int, int] = {}
    starts = []
    for slot, _, count in runs:
        starts.append(done.get(slot, generated[slot]))
        done[slot] = starts[-1] + count
    if keep is None and runs and all(a.first + a.length == b.first for a, b in itertools.pairwise(runs)):
        return _in_one_piece(pixels, runs, starts)  # as a sampler's batch is
    rows: list[NDArray[np.int64]] = []
    kept_runs: list[SlotRun] = []
    vertices: list[Numbers] = []
    total = 0
    for (slot, first, count), start in zip(runs, starts, strict=True):
        inside = np.arange(count) if keep is None else np.flatnonzero(keep[first : first + count])
        if not len(inside):
            continue
        rows.append(first + inside)
        vertices.append(start + inside)
        kept_runs.append(SlotRun(slot, total, len(inside)))
        total += len(inside)
    if not total:
        return pixels[:0], [], []
    return take(pixels, np.concatenate(rows)), kept_runs, vertices


def _in_one_piece(
    pixels: Any, runs: list[SlotRun], starts: list[int]
) -> tuple[Any, list[SlotRun], list[Numbers]]:
    """Return what ``select`` returns for runs that follow each other, all of whose images are kept."""
    first, last = runs[0].first, runs[-1].first + runs[-1].length
    if first:
        runs = [SlotRun(run.slot, run.first - first, run.length) for run in runs]
    vertices: list[Numbers] = [
        range(start, start + run.length) for run, start in zip(runs, starts, strict=True)
    ]
    return pixels if last - first == pixels.shape[0] else pixels[first:last], runs, vertices


def take(pixels: Any, rows: NDArray[np.int64]) -> Any:
    """Return these rows of an array or a tensor (M, H, W, C)."""
    return pixels[rows] if isinstance(pixels, np.ndarray) else pixels.index_select(0, index_on(pixels, rows))


def index_on(tensor: torch.Tensor, rows: Sequence[int] | NDArray[np.int64]) -> torch.Tensor:
    """Return row numbers as an index on the tensor's device, copied without waiting, as indexing by a list would."""
    import torch

    index = torch.as_tensor(rows)
    return index.pin_memory().to(tensor.device, non_blocking=True) if tensor.is_cuda else index
