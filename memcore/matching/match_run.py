"""Compare a run's findings with a training set, small (brute force) or indexed: ``memcore match``."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import Background
from memcore.images.resize import Resize
from memcore.index.reader import Index
from memcore.matching.brute_force import match_findings
from memcore.matching.copies import check_copies, read_copies
from memcore.matching.given import mark_given
from memcore.matching.indexed import match_index
from memcore.matching.members import CliqueMembers
from memcore.matching.metric import MetricName, check_delta, find_metric
from memcore.matching.result import Match, MatchOptions, make_row
from memcore.runs import layout
from memcore.runs.derived import MATCH_FORMAT
from memcore.runs.folder import RunFolder
from memcore.runs.pictures import png_bytes
from memcore.runs.rows import MadeFrom, MatchRow
from memcore.runs.tables import matches_to_table, parquet_bytes
from memcore.sources.in_memory import TrainingSet, read_training_set, sampled_digest
from memcore.storage.digests import FileDigest, digest_bytes, seal
from memcore.types import DEFAULT_THRESHOLD

#: Bytes of medoids that are compared at a time.
_MEDOID_BYTES = 1 << 26


def match_run(
    run: Path,
    training: Path | None = None,
    *,
    index: Path | None = None,
    sources: Sequence[Path] = (),
    trust_paths: bool = True,
    delta: float = DEFAULT_THRESHOLD,
    metric: MetricName = "l2",
    neighbors: int = 5,
    adaptive: bool = False,
    threads: int | None = None,
    copies: Path | NDArray[Any] | None = None,
    resize: Resize | None = None,
    background: Background | None = None,
) -> list[MatchRow]:
    """Write matches.parquet, match.json and the matched training images; return the rows.

    Give either ``training``, a folder of images, .npy or .npz that fits into memory, or ``index``, which may be larger;
    ``sources`` then say where its data is that is no longer where it was indexed. Without ``trust_paths`` they have the
    place of all its data: no place is opened because an index names it.
    ``copies`` says how often each training image that is compared is in the training set: an array, an .npy file, or a
    Parquet file with a column ``copies``. Without it ``eidetic`` counts the distinct images given.

    Of ``training`` the images of the generations' size are compared; with ``resize``, which must have that size, all are
    brought to it. ``background`` is the colour under transparent pixels, which are left out without it. An index has its
    own, which were given when it was made.
    """
    if (training is None) == (index is None):
        raise ConfigError(
            "give either training (a folder, .npy or .npz) or index (a folder of memcore index)"
        )
    if index is not None and (resize is not None or background is not None):
        name = "resize" if resize is not None else "background"
        raise ConfigError(f"{name} is of training images: memcore index takes it when an index is made")
    find_metric(metric)
    check_delta(delta)
    folder = RunFolder.open(run)
    folder.require_complete("match")
    members = CliqueMembers(folder)
    shape = members.image_shape
    if resize is not None and shape is not None and (resize.height, resize.width) != shape[:2]:
        raise ConfigError(
            f"resize must be the generations' size {shape[0]}x{shape[1]}, got {resize.height}x{resize.width}"
        )
    options: MatchOptions = {
        "delta": delta,
        "metric": metric,
        "grid": folder.config.grid,
        "neighbors": neighbors,
        "adaptive": adaptive,
        "threads": threads,
    }
    times = read_copies(copies) if isinstance(copies, Path) else copies
    if index is not None:
        opened = Index.open(index, moved=sources, trust_paths=trust_paths)
        if members.findings or not trust_paths:
            opened.check_sources()  # now, not after a search that may be long
        answer = _search_index(opened, members, options, times)
    else:
        assert training is not None
        found_set = read_training_set(training, shape=shape, resize=resize, background=background)
        answer = _search_memory(training, found_set, members, options, times)
        answer.about.update(
            resize=resize.as_dict() if resize is not None else None,
            background=list(background) if background is not None else None,
        )
    found = answer.found
    wanted = sorted({row for match in found for row in match.indices()})
    names = dict(zip(wanted, answer.names(wanted), strict=True))
    rows = [make_row(finding, match, names) for finding, match in zip(members.findings, found, strict=True)]
    given = mark_given(folder, rows, answer.image, metric=metric, delta=delta, grid=folder.config.grid)
    record = {**answer.about, "delta": delta, "distance": metric, **_describe_copies(times)}
    if "image" in folder.conditions:
        record["given"] = given
    _write(folder, rows, wanted, answer.image, record)
    return rows


def _write(
    folder: RunFolder,
    rows: list[MatchRow],
    wanted: Sequence[int],
    read_image: Callable[[int], NDArray[np.uint8]],
    record: Mapping[str, object],
) -> None:
    """Write the files of a match, with the training images ``wanted``.

    match.json is removed first and written last: only with it is the run matched.
    """
    storage = folder.storage
    storage.remove(layout.MATCH)
    storage.clean()  # what a killed match left
    files: dict[str, FileDigest] = {}
    for row in wanted:  # annotators see them side by side; one at a time, since they may be many
        name, data = layout.training_image_name(row), png_bytes(read_image(row))
        storage.write(name, data)
        files[name] = digest_bytes(data)
    data = parquet_bytes(matches_to_table(rows))
    storage.write(layout.MATCHES, data)
    made_from: MadeFrom = {"run": folder.digest, "findings": folder.findings_digest()}
    files = {layout.MATCHES: digest_bytes(data), **files}
    content = seal({"format": MATCH_FORMAT, **record, "made_from": made_from, "files": files})
    storage.write(layout.MATCH, json.dumps(content, indent=1).encode())


def _describe_copies(copies: NDArray[Any] | None) -> dict[str, object]:
    """Return how many images the training set holds with their duplicates, and the digest of these numbers."""
    if copies is None:
        return {"copies": None}
    data = np.ascontiguousarray(copies, dtype=np.int64).tobytes()
    return {"copies": int(copies.sum()), "copies_sha256": digest_bytes(data)["sha256"]}


@dataclasses.dataclass(frozen=True)
class _Some:
    """The members of the cliques from ``first`` on, counted from there."""

    members: CliqueMembers
    first: int

    def __getitem__(self, finding: int) -> NDArray[np.uint8]:
        """Return the members of one clique."""
        return self.members[self.first + finding]


@dataclasses.dataclass(frozen=True)
class _Answer:
    """The matches, match.json's record of the training set, and what reads its images' names and one of its images."""

    found: list[Match]
    about: dict[str, object]
    names: Callable[[list[int]], list[str]]
    image: Callable[[int], NDArray[np.uint8]]


def _search_index(
    opened: Index,
    members: CliqueMembers,
    options: MatchOptions,
    copies: NDArray[Any] | None,
) -> _Answer:
    """Match the cliques with an index."""
    times = None if copies is None else check_copies(copies, len(opened))
    found = match_index(opened, members.load, members.sizes, members.medoids, **options, copies=times)
    reasons = dict(Counter(row["reason"] for row in opened.quarantine()))
    about = {
        **opened.describe(),
        "image_shape": list(opened.image_shape),
        "reasons": reasons,
        "coverage": opened.coverage(),
    }
    return _Answer(found, about, opened.names, lambda row: opened.fetch(np.array([row]))[0])


def _search_memory(
    training: Path,
    held: TrainingSet,
    members: CliqueMembers,
    options: MatchOptions,
    copies: NDArray[Any] | None,
) -> _Answer:
    """Match the cliques with a training set that fits into memory, a few medoids at a time."""
    images, names, broken, coverage = held
    identity = sampled_digest(images, names)
    times = None if copies is None else check_copies(copies, len(images))
    step = max(1, _MEDOID_BYTES // max(1, int(np.prod(images.shape[1:]))))
    found: list[Match] = []
    for first in range(0, len(members.sizes), step):
        some = range(first, min(first + step, len(members.sizes)))
        medoids = np.stack([members.medoid(f) for f in some])
        found += match_findings(medoids, _Some(members, first), images, **options, copies=times)
    about: dict[str, object] = {
        "training": str(training),
        "identity": identity,
        "image_shape": list(images.shape[1:]),
        "count": len(images),
        "unreadable": broken,
        "coverage": coverage,
    }
    return _Answer(
        found, about, lambda rows: [names[row] for row in rows], lambda row: np.asarray(images[row])
    )
