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
from memcore.index.reader import Index
from memcore.matching.brute_force import match_findings
from memcore.matching.copies import check_copies, read_copies
from memcore.matching.indexed import match_index
from memcore.matching.members import CliqueMembers
from memcore.matching.metric import MetricName
from memcore.matching.result import Match, MatchOptions, make_row
from memcore.runs import layout
from memcore.runs.derived import MATCH_FORMAT
from memcore.runs.folder import RunFolder
from memcore.runs.pictures import png_bytes
from memcore.runs.rows import MadeFrom, MatchRow
from memcore.runs.tables import matches_to_table, parquet_bytes
from memcore.sources.in_memory import read_training_set, sampled_digest
from memcore.storage.digests import FileDigest, digest_bytes, seal
from memcore.types import DEFAULT_THRESHOLD


def match_run(
    run: Path,
    training: Path | None = None,
    *,
    index: Path | None = None,
    delta: float = DEFAULT_THRESHOLD,
    metric: MetricName = "l2",
    neighbors: int = 5,
    adaptive: bool = False,
    threads: int | None = None,
    copies: Path | NDArray[Any] | None = None,
) -> list[MatchRow]:
    """Write matches.parquet, match.json and the matched training images; return the rows.

    Give either ``training``, a folder of images, .npy or .npz that fits into memory, or ``index``, which may be larger.
    ``copies`` says how often each training image that is compared stands in the training set: an array, an .npy file, or a
    Parquet file with a column ``copies``. Without it ``eidetic`` counts the distinct images given.
    """
    if (training is None) == (index is None):
        raise ConfigError(
            "give either training (a folder, .npy or .npz) or index (a folder of memcore index)"
        )
    folder = RunFolder.open(run)
    folder.require_complete("match")
    members = CliqueMembers(folder)
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
        answer = _search_index(index, members, options, times)
    else:
        assert training is not None
        answer = _search_memory(training, members, options, times)
    found = answer.found
    wanted = sorted({row for match in found for row in match.indices()})
    names = dict(zip(wanted, answer.names(wanted), strict=True))
    rows = [make_row(finding, match, names) for finding, match in zip(members.findings, found, strict=True)]
    record = {**answer.about, "delta": delta, "distance": metric, **_describe_copies(times)}
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
class _Answer:
    """The matches, match.json's record of the training set, and what reads its images' names and one of its images."""

    found: list[Match]
    about: Mapping[str, object]
    names: Callable[[list[int]], list[str]]
    image: Callable[[int], NDArray[np.uint8]]


def _search_index(
    index: Path, members: CliqueMembers, options: MatchOptions, copies: NDArray[Any] | None
) -> _Answer:
    """Match the cliques with an index."""
    opened = Index.open(index)
    times = None if copies is None else check_copies(copies, len(opened))
    found = match_index(opened, members.load, members.sizes, members.medoids, **options, copies=times)
    reasons = dict(Counter(row["reason"] for row in opened.quarantine()))
    about = {**opened.describe(), "reasons": reasons, "coverage": opened.coverage()}
    return _Answer(found, about, opened.names, lambda row: opened.fetch(np.array([row]))[0])


def _search_memory(
    training: Path, members: CliqueMembers, options: MatchOptions, copies: NDArray[Any] | None
) -> _Answer:
    """Match the cliques with a training set that fits into memory."""
    images, names, broken, coverage = read_training_set(training)
    identity = sampled_digest(images, names)
    stacked = [members[f][m][None] for f, m in enumerate(members.medoids)]
    medoids = np.concatenate(stacked) if stacked else np.empty((0, *images.shape[1:]), np.uint8)
    times = None if copies is None else check_copies(copies, len(images))
    found = match_findings(medoids, members, images, **options, copies=times)
    about = {
        "training": str(training),
        "identity": identity,
        "count": len(images),
        "unreadable": broken,
        "coverage": coverage,
    }
    return _Answer(
        found, about, lambda rows: [names[row] for row in rows], lambda row: np.asarray(images[row])
    )
