"""What an annotator sees of each finding: pictures by number, never by path, without the machine's verdict."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from memcore.errors import RunError
from memcore.images import UnreadableImage
from memcore.report.run import Run, read_run
from memcore.runs import layout
from memcore.runs.annotations import Item
from memcore.runs.rows import FindingRow
from memcore.runs.shown import choose_images, image_digest, read_png_file
from memcore.storage.digests import FileDigest

#: Findings to judge.
TOP = 1000


@dataclasses.dataclass(frozen=True)
class Shown:
    """One item: its prompt, how many generations repeat each other, and the numbers of its pictures."""

    prompt_id: int
    clique: int
    prompt: str
    size: int
    generations: tuple[int, ...]
    training: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Picture:
    """A picture's file, and its digest where the run holds one."""

    path: Path
    expected: FileDigest | None


class Gallery:
    """The first ``top`` findings of a run in rank order: by mean distance of the clique, ties by prompt and clique."""

    def __init__(self, run: Path, *, top: int = TOP) -> None:
        self.run: Run = read_run(run)
        if self.run.done < self.run.prompts:
            raise RunError(
                f"annotate needs a finished run, but {self.run.prompts - self.run.done} of {self.run.prompts} prompts of "
                f"{run} are missing: run the same memcore command again, which resumes the run"
            )
        if self.run.matches is None:
            for stale in self.run.stale:
                if stale.file == layout.MATCHES:
                    raise RunError(f"{run}/{stale.text}")
            raise RunError(
                "annotate shows findings with their nearest training images: "
                f"memcore match {shlex.quote(str(run))} --training ... first"
            )
        ranked = _rank(self.run)
        if not ranked:
            raise RunError(f"{run} has no findings: there is nothing to annotate")
        self._pictures: list[_Picture] = []
        self.items = [self._item(row, clique) for row, clique in ranked[:top]]

    @property
    def digest(self) -> str:
        """Return the run's digest."""
        return self.run.digest

    def read(self, number: int) -> bytes | None:
        """Return the file of a picture; None for a number that no item shows, or a file that is gone.

        Raises DamagedFileError for a file that is not the recorded one.
        """
        if not 0 <= number < len(self._pictures):
            return None
        picture = self._pictures[number]
        try:
            return read_png_file(picture.path, picture.expected)
        except UnreadableImage:
            return None

    def shown_digest(self, items: Sequence[Item]) -> str:
        """Return one digest of the pictures that are shown of some items."""
        return self.run.state.shown_digest(items)

    def _item(self, row: FindingRow, number: int) -> Shown:
        prompt_id = int(row["prompt_id"])
        images = choose_images(row, number, (self.run.matches or {}).get(prompt_id, []))
        generations = [
            _Picture(self.run.image_path(prompt_id, seed), image_digest(row, seed)) for seed in images.seeds
        ]
        training = [
            _Picture(self.run.training_path(index), self.run.training_digest(index))
            for index in images.training
        ]
        return Shown(
            prompt_id,
            number,
            str(row["prompt"]),
            len(row["cliques"][number]["seeds"]),
            self._number(generations),
            self._number(training),
        )

    def _number(self, pictures: list[_Picture]) -> tuple[int, ...]:
        """Give the pictures that exist a number each, and return these."""
        existing = [picture for picture in pictures if picture.path.is_file()]
        first = len(self._pictures)
        self._pictures.extend(existing)
        return tuple(range(first, first + len(existing)))


def _rank(run: Run) -> list[tuple[FindingRow, int]]:
    """Return (row, number of the clique) of all findings, the strongest first."""
    found = [
        (float(clique["mean_distance"]), int(row["prompt_id"]), number)
        for row in run.findings
        for number, clique in enumerate(row["cliques"])
    ]
    by_id = {int(row["prompt_id"]): row for row in run.findings}
    return [(by_id[prompt_id], number) for _, prompt_id, number in sorted(found)]
