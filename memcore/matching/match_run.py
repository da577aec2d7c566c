"""``memcore match``: compare a run's findings with a training set, small (brute force) or indexed."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, RunError
from memcore.images import UnreadableImage, decode_file
from memcore.index.reader import Index
from memcore.matching.brute_force import match_findings
from memcore.matching.indexed import match_index
from memcore.matching.metric import MetricName
from memcore.matching.result import Match, MatchOptions
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from memcore.runs.rows import CliqueRow, FindingRow, MatchRecord, MatchRow
from memcore.runs.schema import parquet_bytes, png_bytes, table_of_matches
from memcore.sources.in_memory import read_training_set
from memcore.system.atomic_files import write_atomic
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
) -> list[MatchRow]:
    """Write matches.parquet, match.json and the matched training images; return the rows.

    Either ``training``, a folder of images, .npy or .npz that fits into memory, or ``index``, which need not.
    """
    if (training is None) == (index is None):
        raise ConfigError(
            "give either training (a folder, .npy or .npz) or index (a folder of memcore index)"
        )
    folder = RunFolder.open(run)
    folder.require_complete("match")
    members = _Members(folder)
    options: MatchOptions = {
        "delta": delta,
        "metric": metric,
        "grid": folder.config.grid,
        "neighbors": neighbors,
        "adaptive": adaptive,
        "threads": threads,
    }
    if index is not None:
        opened = Index.open(index)
        found = match_index(opened, members.load, members.sizes, members.medoids, **options)
        about, pictures, names = _from_index(opened, found)
        about = {**about, "coverage": opened.coverage()}
    else:
        assert training is not None
        images, all_names, broken, coverage = read_training_set(training)
        stacked = [members[f][m][None] for f, m in enumerate(members.medoids)]
        medoids = np.concatenate(stacked) if stacked else np.empty((0, *images.shape[1:]), np.uint8)
        found = match_findings(medoids, members, images, **options)
        about = {"training": str(training), "count": len(images), "unreadable": broken, "coverage": coverage}
        pictures = ((i, np.asarray(images[i])) for i in sorted({i for m in found for i in _indices(m)}))
        names = {i: all_names[i] for m in found for i in _indices(m)}
    rows = [_row(finding, match, names) for finding, match in zip(members.findings, found, strict=True)]
    for position, pixels in pictures:  # annotators see them side by side
        write_atomic(folder.path / layout.training_image_name(position), png_bytes(pixels))
    write_atomic(folder.path / layout.MATCHES, parquet_bytes(table_of_matches(rows)))
    record = cast(MatchRecord, {**about, "delta": delta, "distance": metric})
    write_atomic(folder.path / layout.MATCH, json.dumps(record, indent=1).encode())
    return rows


class _Members:
    """The members of all cliques of a run, read on demand: they may be more than the memory holds."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.findings = [
            (row, number, clique) for row in folder.findings() for number, clique in enumerate(row["cliques"])
        ]
        self.sizes = [len(clique["seeds"]) for _, _, clique in self.findings]
        self.medoids = [clique["seeds"].index(clique["medoid_seed"]) for _, _, clique in self.findings]
        self._places = [
            (int(row["prompt_id"]), int(seed)) for row, _, clique in self.findings for seed in clique["seeds"]
        ]
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(int)
        self._read = functools.lru_cache(maxsize=512)(self._decode)

    def __getitem__(self, finding: int) -> NDArray[np.uint8]:
        return self.load(np.arange(self._starts[finding], self._starts[finding + 1]))

    def load(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return members by their position among all of them."""
        return np.stack([self._read(int(i)) for i in positions])

    def _decode(self, position: int) -> NDArray[np.uint8]:
        path = self.folder.image_path(*self._places[position])
        try:
            return decode_file(path)
        except UnreadableImage as error:
            what = (
                "is missing: the run's images were removed" if not path.exists() else f"is damaged: {error}"
            )
            raise RunError(f"{path} {what}; repeat the audit") from None


def _from_index(
    index: Index, found: Sequence[Match]
) -> tuple[Mapping[str, object], Iterator[tuple[int, NDArray[np.uint8]]], dict[int, str]]:
    """Return what match.json says of the index, the matched training images, and their names."""
    wanted = sorted({i for m in found for i in _indices(m)})
    pictures = ((row, index.fetch(np.array([row]))[0]) for row in wanted)  # one at a time: they may be many
    return index.describe(), pictures, dict(zip(wanted, index.names(wanted), strict=True))


def _indices(match: Match) -> list[int]:
    closest = [match.closest.index] if match.closest else []
    return [match.index, *(i for i, _ in match.neighbors), *closest]


def _row(finding: tuple[FindingRow, int, CliqueRow], match: Match, names: Mapping[int, str]) -> MatchRow:
    row, number, clique = finding
    closest = match.closest
    return {
        "prompt_id": row["prompt_id"],
        "clique": number,
        "size": len(clique["seeds"]),
        "mean_distance": clique["mean_distance"],
        "medoid_seed": clique["medoid_seed"],
        "training_index": match.index,
        "training_name": names[match.index],
        "l2": match.l2,
        "tiled_l2": match.tiled_l2,
        "extracted": match.extracted,
        "copies": match.copies,
        "eidetic": match.eidetic,
        "neighbors": [{"index": i, "name": names[i], "l2": d} for i, d in match.neighbors],
        "adaptive": match.adaptive,
        "members_extracted": match.members_extracted,
        "closest_seed": clique["seeds"][closest.member] if closest else None,
        "closest_index": closest.index if closest else None,
        "closest_name": names[closest.index] if closest else None,
        "closest_distance": closest.distance if closest else None,
    }
