"""``memcore prompts``: the captions of the most-duplicated training images, as an audit reads them.

Source: Carlini et al. 2023, section 4.1: the captions of the 350,000 most-duplicated images of the training set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.duplicates.groups import Engine, group_embeddings, group_images
from memcore.errors import ConfigError
from memcore.index.reader import Index
from memcore.matching.brute_force import Metric
from memcore.sources.open import Source
from memcore.system import columns
from memcore.system.atomic_files import write_atomic

TOP = 350_000
#: Default thresholds: tiled l2 (or l2) of images, and the cosine of embeddings.
IMAGE_THRESHOLD, COSINE = 0.05, 0.95
_AHEAD = 4096
Texts = Callable[[Sequence[int]], Sequence[str | None]]


def prompts_from_index(
    index: Index,
    out: Path,
    *,
    threshold: float = IMAGE_THRESHOLD,
    metric: Metric = "tiled_l2",
    top: int = TOP,
    min_count: int = 2,
    threads: int | None = None,
) -> dict[str, Any]:
    """Groups the images of an index by their own distance, writes the prompts to ``out`` (Parquet), returns counts."""
    labels = group_images(index, threshold, metric=metric, threads=threads)
    about = {**index.describe(), "distance": metric, "threshold": threshold}
    return _write(out, labels, index.captions, index.names, top, min_count, about)


def prompts_from_embeddings(
    embeddings: NDArray[Any],
    source: Source,
    out: Path,
    *,
    threshold: float = COSINE,
    top: int = TOP,
    min_count: int = 2,
    engine: Engine = "exact",
) -> dict[str, Any]:
    """The same by given embeddings: row i is that of the source's entry i, readable or not.

    ``engine`` "faiss" takes the products from faiss (extra faiss); the groups are the same.
    """
    labels = group_embeddings(embeddings, threshold, engine=engine)
    counts = np.bincount(labels, minlength=len(labels))
    wanted = counts[labels] >= min_count
    captions: dict[int, str | None] = {}
    names: dict[int, str] = {}
    row = 0
    for part in range(len(source.parts)):
        for batch in source.read(part, 0):
            for i in range(len(batch)):
                if row < len(wanted) and wanted[row]:
                    captions[row] = batch.captions[i] if batch.captions is not None else None
                    names[row] = batch.names[i] if batch.names is not None else str(row)
                row += 1
    if row != len(labels):
        raise ConfigError(
            f"embeddings must have a row for each of the {row} entries of {source.path}, got {len(labels)}"
        )
    about = {"source": source.path, "count": row, "distance": "cosine", "threshold": threshold}
    return _write(
        out,
        labels,
        lambda rows: [captions[r] for r in rows],
        lambda rows: [names[r] for r in rows],
        top,
        min_count,
        about,
    )


def _write(
    out: Path,
    labels: NDArray[np.int64],
    captions: Texts,
    names: Texts,
    top: int,
    min_count: int,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Ranks groups by size (ties: the smaller first row) and writes the first caption of each."""
    if top < 1 or min_count < 1:
        raise ConfigError(f"top and min-count must be at least 1, got {top} and {min_count}")
    counts = np.bincount(labels, minlength=len(labels))
    leaders = np.flatnonzero(counts >= min_count)
    ranked = leaders[np.argsort(-counts[leaders], kind="stable")]
    members = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[members], leaders)
    place = dict(zip(leaders.tolist(), starts.tolist(), strict=True))
    rows: dict[str, list[Any]] = {"prompt": [], "count": [], "training_index": []}
    seen: set[str] = set()
    silent = repeated = 0
    for at in range(0, len(ranked), _AHEAD):
        some = ranked[at : at + _AHEAD].tolist()
        for leader, found in zip(some, captions(some), strict=True):
            caption, row = found, leader
            if not (caption or "").strip():
                own = members[place[leader] : place[leader] + counts[leader]].tolist()
                row, caption = next(
                    ((r, c) for r, c in zip(own, captions(own), strict=True) if (c or "").strip()),
                    (leader, None),
                )
            if caption is None:
                silent += 1
            elif caption in seen:
                repeated += 1
            else:
                seen.add(caption)
                for name, value in (
                    ("prompt", caption),
                    ("count", int(counts[leader])),
                    ("training_index", row),
                ):
                    rows[name].append(value)
            if len(seen) == top:
                break
        if len(seen) == top:
            break
    if not seen:
        raise ConfigError(
            f"not one of {len(leaders)} groups of at least {min_count} duplicates has a caption: lower min-count, choose "
            "another threshold, or give a source with captions"
        )
    result = {
        "prompts": len(seen),
        "groups": len(leaders),
        "images_in_groups": int(counts[leaders].sum()),
        "largest": int(counts.max()),
        "without_caption": silent,
        "repeated_captions": repeated,
        **about,
    }
    rows["training_name"] = list(names(rows["training_index"]))
    table = columns.ranked(rows).replace_schema_metadata({"memcore": json.dumps(result)})
    write_atomic(out, columns.to_bytes(table))
    return result
