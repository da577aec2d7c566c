"""What people are shown of a finding when they judge it, and one digest of it.

A label says something of pictures. When a run was matched again, labels still count where the same pictures would be shown.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from memcore.images import UnreadableImage
from memcore.images.image_file import read_image_file
from memcore.images.png import SIGNATURE
from memcore.runs import layout
from memcore.runs.rows import FindingRow, MatchRow
from memcore.storage.digests import FileDigest, combine, verify_bytes

#: Generations shown of each finding, and training images next to them.
GENERATIONS, TRAINING = 16, 5


@dataclasses.dataclass(frozen=True)
class ShownImages:
    """The generations of a finding by seed, the medoid first, and the training images next to them by index."""

    seeds: tuple[int, ...]
    training: tuple[int, ...]


def choose_images(row: FindingRow, clique: int, matches: Sequence[MatchRow]) -> ShownImages:
    """Return the images shown of a clique; ``matches`` are those of its prompt."""
    found = row["cliques"][clique]
    medoid = int(found["medoid_seed"])
    seeds = [medoid, *(int(seed) for seed in found["seeds"] if int(seed) != medoid)]
    match = next((m for m in matches if int(m["clique"]) == clique), None)
    near = (
        [int(match["training_index"]), *(int(n["index"]) for n in match["neighbors"] or [])] if match else []
    )
    return ShownImages(tuple(seeds[:GENERATIONS]), tuple(dict.fromkeys(near))[:TRAINING])


def image_digest(row: FindingRow, seed: int) -> FileDigest | None:
    """Return the digest of an image of a prompt; None in runs of earlier formats, which have none."""
    for image in row.get("images") or []:
        if image["seed"] == seed:
            return {"bytes": image["bytes"], "sha256": image["sha256"]}
    return None


def shown_digest(
    items: Iterable[tuple[int, int]],
    rows: Mapping[int, FindingRow],
    matches: Mapping[int, Sequence[MatchRow]],
    files: Mapping[str, FileDigest],
) -> str:
    """Return one digest of all pictures that are shown of these (prompt_id, clique).

    ``rows`` and ``matches`` are by prompt. ``files`` are those of match.json: a training image without a digest there counts
    by its number alone.
    """
    content: dict[str, str] = {}
    for prompt_id, clique in items:
        row = rows.get(prompt_id)
        if row is None or not 0 <= clique < len(row["cliques"]):
            content[f"{prompt_id}/{clique}"] = "missing"
            continue
        images = choose_images(row, clique, matches.get(prompt_id, []))
        written = {int(image["seed"]): image["sha256"] for image in row.get("images") or []}
        training = ((n, files.get(layout.training_image_name(n))) for n in images.training)
        content[f"{prompt_id}/{clique}"] = json.dumps(
            [
                [(seed, written.get(seed)) for seed in images.seeds],
                [(number, digest and digest["sha256"]) for number, digest in training],
            ]
        )
    return combine(content)


def read_png_file(path: Path, expected: FileDigest | None = None) -> bytes:
    """Return the bytes of a picture in a run's folder.

    The folder may come from somebody else: other formats, for which Pillow may start other programs, are not opened,
    whatever the file is called. Raises UnreadableImage if it is missing, no plain file, too large or no PNG, and
    DamagedFileError if it is not the file with the digest ``expected``.
    """
    data = read_image_file(path)
    if expected is not None:
        verify_bytes(data, expected, str(path))
    if not data.startswith(SIGNATURE):
        raise UnreadableImage("format", "a run keeps PNGs only")
    return data
