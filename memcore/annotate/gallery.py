"""What an annotator sees of each finding: pictures by number, never by path, without the machine's verdict."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from memcore.errors import DamagedFileError, RunError
from memcore.images import UnreadableImage
from memcore.report.run import Run, read_run
from memcore.runs import layout
from memcore.runs.annotations import Item
from memcore.runs.pictures import png_bytes
from memcore.runs.rows import FindingRow
from memcore.runs.shown import choose_images, image_digest, read_png_file
from memcore.storage.digests import FileDigest

#: Findings to judge.
TOP = 1000
#: Pictures that generations may be made from, in the order in which they are shown.
GIVEN = ("image", "mask")


@dataclasses.dataclass(frozen=True)
class Shown:
    """One item: its prompt, how many generations repeat each other, and the numbers of its pictures.

    ``given`` are those that the generations were made from: an image, and the mask on it. Most runs have none.
    """

    prompt_id: int
    clique: int
    prompt: str
    size: int
    generations: tuple[int, ...]
    training: tuple[int, ...]
    given: tuple[int, ...] = ()


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
        #: What reads each picture that is shown.
        self._pictures: list[Callable[[], bytes]] = []
        self._reading = threading.Lock()  # the run's conditions are read from one open file
        kinds = self.run.settings["prompts"].get("conditions", ())
        self._given_kinds = [kind for kind in GIVEN if kind in kinds]
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
        try:
            return self._pictures[number]()
        except DamagedFileError:
            raise
        except (UnreadableImage, RunError):
            return None

    def shown_digest(self, items: Sequence[Item]) -> str:
        """Return one digest of the pictures that are shown of some items."""
        return self.run.state.shown_digest(items)

    def _item(self, row: FindingRow, number: int) -> Shown:
        prompt_id = int(row["prompt_id"])
        images = choose_images(row, number, (self.run.matches or {}).get(prompt_id, []))
        generations = [
            (self.run.image_path(prompt_id, seed), image_digest(row, seed)) for seed in images.seeds
        ]
        training = [
            (self.run.training_path(index), self.run.training_digest(index)) for index in images.training
        ]
        return Shown(
            prompt_id,
            number,
            str(row["prompt"]),
            len(row["cliques"][number]["seeds"]),
            self._number(_existing(generations)),
            self._number(_existing(training)),
            self._number([functools.partial(self._given, prompt_id, kind) for kind in self._given_kinds]),
        )

    def _given(self, prompt_id: int, kind: str) -> bytes:
        """Return the PNG of a prompt's given image or of its mask, whose pixels are those that the run recorded."""
        with self._reading:
            condition = self.run.condition(prompt_id)
        pixels = getattr(condition, kind)
        return png_bytes(np.ascontiguousarray(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, 2)))

    def _number(self, pictures: Sequence[Callable[[], bytes]]) -> tuple[int, ...]:
        """Give the pictures a number each, and return these."""
        first = len(self._pictures)
        self._pictures.extend(pictures)
        return tuple(range(first, first + len(pictures)))


def _existing(files: Sequence[tuple[Path, FileDigest | None]]) -> list[Callable[[], bytes]]:
    """Return what reads each of the files that are there, with the digest that it must have, where the run holds one."""
    return [functools.partial(read_png_file, path, expected) for path, expected in files if path.is_file()]


def _rank(run: Run) -> list[tuple[FindingRow, int]]:
    """Return (row, number of the clique) of all findings, the strongest first."""
    found = [
        (float(clique["mean_distance"]), int(row["prompt_id"]), number)
        for row in run.findings
        for number, clique in enumerate(row["cliques"])
    ]
    by_id = {int(row["prompt_id"]): row for row in run.findings}
    return [(by_id[prompt_id], number) for _, prompt_id, number in sorted(found)]
