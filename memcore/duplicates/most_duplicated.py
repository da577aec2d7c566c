"""Write the captions of the most-duplicated training images as prompts of an audit: ``memcore prompts``.

Source: Carlini et al. 2023, section 4.1: the captions of the 350,000 most-duplicated images of the training set.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypeAlias, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from memcore.duplicates.embeddings import Embeddings, Engine, group_embeddings
from memcore.duplicates.groups import group_images
from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.index.reader import Index
from memcore.matching.metric import MetricName
from memcore.sources.base import quarantined
from memcore.sources.coverage import Account, Coverage
from memcore.sources.decoded import name_of
from memcore.sources.open import Source
from memcore.system import columns
from memcore.system.atomic_files import write_output

TOP = 350_000
#: Default thresholds: tiled l2 (or l2) of images, and the cosine of embeddings.
IMAGE_THRESHOLD, COSINE = 0.05, 0.95
#: Images of groups whose captions or names are read at a time.
_AHEAD = 1 << 18
Texts: TypeAlias = Callable[[Sequence[int]], Sequence[str | None]]


class PromptsRecord(TypedDict):
    """Counts of a list of prompts, and how it was made; for an index also what ``Index.describe`` returns."""

    prompts: int
    groups: int
    images_in_groups: int
    largest: int
    without_caption: int
    repeated_captions: int
    source: NotRequired[str]
    coverage: NotRequired[Coverage | None]
    count: int
    distance: str
    threshold: float


def prompts_from_index(
    index: Index,
    out: Path,
    *,
    threshold: float = IMAGE_THRESHOLD,
    metric: MetricName = "tiled_l2",
    top: int = TOP,
    min_count: int = 2,
    threads: int | None = None,
) -> PromptsRecord:
    """Group an index's images by their own distance, write the prompts to ``out`` (Parquet), and return counts."""
    labels = group_images(index, threshold, metric=metric, threads=threads)
    about = {**index.describe(), "distance": metric, "threshold": threshold}
    return _write(out, labels, index.captions, index.names, top, min_count, about)


def prompts_from_embeddings(
    embeddings: Embeddings,
    source: Source,
    out: Path,
    *,
    threshold: float = COSINE,
    top: int = TOP,
    min_count: int = 2,
    engine: Engine = "exact",
) -> PromptsRecord:
    """Group a source's entries by embeddings, write the prompts to ``out`` (Parquet), and return counts.

    Row i of ``embeddings`` is that of the source's entry i, readable or not. ``engine`` "faiss" takes the products from
    faiss (extra faiss); the groups are the same.
    """
    labels = group_embeddings(embeddings, threshold, engine=engine)
    counts = np.bincount(labels, minlength=len(labels))
    wanted = counts[labels] >= min_count
    captions: dict[int, str | None] = {}
    names: dict[int, str] = {}
    row = unread = 0
    account = Account(source)
    broken = list(account.left_out)
    for part in range(len(source.parts)):
        for batch in source.read(part, 0):
            for i in range(len(batch)):
                broken.extend(account.take(batch, i))
                if isinstance(payload := batch.payloads[i], UnreadableImage):
                    broken.append(quarantined(name_of(batch, i), payload))
                    unread += 1
                if row < len(wanted) and wanted[row]:
                    captions[row] = batch.captions[i] if batch.captions is not None else None
                    names[row] = batch.names[i] if batch.names is not None else str(row)
                row += 1
        account.end_part(part)
    if row != len(labels):
        raise ConfigError(
            f"embeddings must have a row for each of the {row} entries of {source.path}, got {len(labels)}"
        )
    about = {"source": source.path, "count": row, "distance": "cosine", "threshold": threshold}
    result = _write(
        out,
        labels,
        lambda rows: [captions[r] for r in rows],
        lambda rows: [names[r] for r in rows],
        top,
        min_count,
        about,
    )
    result["coverage"] = account.close(row - unread, broken)
    return result


@dataclasses.dataclass
class _Ranking:
    """Groups of at least ``min_count`` duplicates, largest first; ties: the smaller first row."""

    labels: NDArray[np.int64]
    min_count: int

    def __post_init__(self) -> None:
        self.counts = np.bincount(self.labels, minlength=len(self.labels))
        self.leaders = np.flatnonzero(self.counts >= self.min_count)
        self._members = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[self._members], self.leaders)
        self._starts = dict(zip(self.leaders.tolist(), starts.tolist(), strict=True))

    def members(self, leader: int) -> NDArray[np.int64]:
        """Return the rows of a group, in order."""
        start = self._starts[leader]
        return self._members[start : start + self.counts[leader]]

    def captioned(self, captions: Texts) -> Iterator[tuple[int, str | None, int]]:
        """Yield (leader, caption, its first row) of each group: the most frequent caption of its images that is not blank.

        Of equally frequent ones it is that of the smaller row.
        """
        ranked = self.leaders[np.argsort(-self.counts[self.leaders], kind="stable")].tolist()
        for some in _batches(ranked, self.counts):
            rows = np.concatenate([self.members(leader) for leader in some]).tolist()
            said = iter(zip(rows, captions(rows), strict=True))
            for leader in some:
                yield leader, *_most_frequent(itertools.islice(said, int(self.counts[leader])), leader)


def _batches(leaders: Sequence[int], counts: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield groups together that have about ``_AHEAD`` images, so that texts are read for many at a time."""
    some: list[int] = []
    images = 0
    for leader in leaders:
        some.append(leader)
        images += int(counts[leader])
        if images >= _AHEAD:
            yield some
            some, images = [], 0
    if some:
        yield some


def _most_frequent(said: Iterable[tuple[int, str | None]], leader: int) -> tuple[str | None, int]:
    """Return the most frequent caption that is not blank, and the first row with it; (None, leader) where there is none."""
    first: dict[str, int] = {}
    times: Counter[str] = Counter()
    for row, caption in said:
        if caption is not None and caption.strip():
            first.setdefault(caption, row)
            times[caption] += 1
    if not times:
        return None, leader
    caption = max(times, key=lambda c: (times[c], -first[c]))
    return caption, first[caption]


def _write(
    out: Path,
    labels: NDArray[np.int64],
    captions: Texts,
    names: Texts,
    top: int,
    min_count: int,
    about: Mapping[str, object],
) -> PromptsRecord:
    """Write the most frequent caption of each group, the largest groups first, each caption once, and the groups' images."""
    if top < 1 or min_count < 1:
        raise ConfigError(f"top and min-count must be at least 1, got {top} and {min_count}")
    groups = _Ranking(labels, min_count)
    prompts: dict[str, int] = {}
    leaders: list[int] = []
    silent = repeated = 0
    for leader, caption, row in groups.captioned(captions):
        if caption is None:
            silent += 1
        elif caption in prompts:
            repeated += 1
        else:
            prompts[caption] = row
            leaders.append(leader)
        if len(prompts) == top:
            break
    if not prompts:
        raise ConfigError(
            f"not one of {len(groups.leaders)} groups of at least {min_count} duplicates has a caption: lower min-count, "
            "choose another threshold, or give a source with captions"
        )
    counted = {
        "prompts": len(prompts),
        "groups": len(groups.leaders),
        "images_in_groups": int(groups.counts[groups.leaders].sum()),
        "largest": int(groups.counts.max()),
        "without_caption": silent,
        "repeated_captions": repeated,
    }
    result = cast(PromptsRecord, {**counted, **about})
    rows = list(prompts.values())
    table = columns.ranked(
        {
            "prompt": list(prompts),
            "count": groups.counts[leaders].tolist(),
            "training_index": rows,
            "training_name": names(rows),
        },
        [groups.members(leader) for leader in leaders],
        [names(some) for some in _member_rows(groups, leaders)],
    )
    write_output(out, columns.to_bytes(table.replace_schema_metadata({"memcore": json.dumps(result)})))
    return result


def _member_rows(groups: _Ranking, leaders: Sequence[int]) -> Iterator[list[int]]:
    for some in _batches(leaders, groups.counts):
        yield np.concatenate([groups.members(leader) for leader in some]).tolist()
