"""What an annotator sees of each finding: pictures by number, never by path, without the machine's verdict."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from memcore.errors import RunError
from memcore.report.run import Run, read_run
from memcore.runs.rows import FindingRow

#: Findings to judge, generations shown of each, and training images next to them.
TOP, GENERATIONS, TRAINING = 1000, 16, 5


@dataclasses.dataclass(frozen=True)
class Shown:
    """One item: its prompt, how many generations repeat each other, and the numbers of its pictures."""

    prompt_id: int
    clique: int
    prompt: str
    size: int
    generations: tuple[int, ...]
    training: tuple[int, ...]


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
            raise RunError(
                "annotate shows findings with their nearest training images: "
                f"memcore match {shlex.quote(str(run))} --training ... first"
            )
        ranked = _rank(self.run)
        if not ranked:
            raise RunError(f"{run} has no findings: there is nothing to annotate")
        self._paths: list[Path] = []
        self.items = [self._item(row, clique) for row, clique in ranked[:top]]

    @property
    def digest(self) -> str:
        """Return the run's digest."""
        return self.run.digest

    def path(self, number: int) -> Path | None:
        """Return the file of a picture; None for a number that no item shows."""
        return self._paths[number] if 0 <= number < len(self._paths) else None

    def _item(self, row: FindingRow, number: int) -> Shown:
        prompt_id, clique = int(row["prompt_id"]), row["cliques"][number]
        medoid = int(clique["medoid_seed"])
        seeds = [medoid, *(int(s) for s in clique["seeds"] if int(s) != medoid)]
        generations = [self.run.image_path(prompt_id, seed) for seed in seeds[:GENERATIONS]]
        matches = (self.run.matches or {}).get(prompt_id, [])
        match = next((m for m in matches if int(m["clique"]) == number), None)
        near = (
            [int(match["training_index"]), *(int(n["index"]) for n in match.get("neighbors") or [])]
            if match
            else []
        )
        training = [self.run.training_path(index) for index in dict.fromkeys(near)]
        return Shown(
            prompt_id,
            number,
            str(row["prompt"]),
            len(seeds),
            self._number(generations),
            self._number(training[:TRAINING]),
        )

    def _number(self, paths: list[Path]) -> tuple[int, ...]:
        """Give the pictures that exist a number each, and return these."""
        existing = [path for path in paths if path.is_file()]
        first = len(self._paths)
        self._paths.extend(existing)
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
