"""Read the images of a run's cliques, as many of them as are asked for."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.images import UnreadableImage, decode
from memcore.images.image_file import read_image_file
from memcore.runs.folder import RunFolder
from memcore.runs.shown import image_digest
from memcore.storage.digests import verify_bytes

#: Bytes of decoded members that are kept.
_CACHE_BYTES = 1 << 27


class CliqueMembers:
    """The members of all cliques of a run, read on demand: they may be more than the memory holds."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.findings = [
            (row, number, clique) for row in folder.findings() for number, clique in enumerate(row["cliques"])
        ]
        self.sizes = [len(clique["seeds"]) for _, _, clique in self.findings]
        self.medoids = [clique["seeds"].index(clique["medoid_seed"]) for _, _, clique in self.findings]
        self._places = [(row, int(seed)) for row, _, clique in self.findings for seed in clique["seeds"]]
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(int)
        self._read = self._decode
        if self._places:  # as many as fit into the memory for them: a member may be compared several times
            held = max(1, _CACHE_BYTES // self._decode(0).nbytes)
            self._read = functools.lru_cache(maxsize=held)(self._decode)

    def __getitem__(self, finding: int) -> NDArray[np.uint8]:
        """Return the members of one clique."""
        return self.load(np.arange(self._starts[finding], self._starts[finding + 1]))

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Return (height, width, channels) of the generations; None if no clique was found."""
        if not self._places:
            return None
        height, width, channels = self._read(0).shape
        return height, width, channels

    def medoid(self, finding: int) -> NDArray[np.uint8]:
        """Return the medoid of one clique, (H, W, C)."""
        return self._read(int(self._starts[finding]) + self.medoids[finding])

    def load(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return members by their position among all of them."""
        return np.stack([self._read(int(i)) for i in positions])

    def _decode(self, position: int) -> NDArray[np.uint8]:
        row, seed = self._places[position]
        path, expected = self.folder.image_path(int(row["prompt_id"]), seed), image_digest(row, seed)
        try:
            data = read_image_file(path)
            if expected is not None:
                verify_bytes(data, expected, str(path), "repeat the audit")
            return decode(data)
        except UnreadableImage as error:
            what = (
                "is missing: the run's images were removed" if not path.exists() else f"is damaged: {error}"
            )
            raise RunError(f"{path} {what}; repeat the audit") from None
