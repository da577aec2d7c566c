"""The run that tests/data/format-3 holds, as whoever changes the format before its release makes it again:

    python -m tests.support.stored_runs tests/data/format-3

``finished`` was matched, evaluated and annotated; ``stopped`` is the same run, interrupted in its second shard.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from memcore.annotate.gallery import Gallery
from memcore.audit import audit
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.matching.match_run import match_run
from memcore.runs.annotations import Annotations
from memcore.runs.config import Config
from memcore.types import Images, Request
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set

CONFIG = Config(
    source="custom",
    generations=24,
    batch_size=16,
    min_clique=10,
    edges_up_to=0.2,
    shard_prompts=3,
    budget="sequential",
    seed=7,
)


class Interrupted(SyntheticSampler):
    """A sampler during whose last batch somebody presses Ctrl-C."""

    def __init__(self, batches: int) -> None:
        super().__init__(fail="rain")
        self._left = batches

    def sample(self, requests: Sequence[Request]) -> Images:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().sample(requests)


def make_finished(run: Path, folder: Path) -> None:
    """Make the whole run in ``run``; ``folder`` gets its training set."""
    audit(run, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True)
    match_run(run, write_training_set(folder))
    evaluate_run(run, folder / "truth.json")
    gallery = Gallery(run)
    order = [(shown.prompt_id, shown.clique) for shown in gallery.items]
    with Annotations.create(run, gallery.digest, order, gallery.shown_digest) as opened:
        opened.append("a", 1, 0, "copy")
        opened.append("b", 2, 0, "copy")
        opened.append("c", 1, 1, "no")
        opened.append("d", 1, 1, None)


def make_stopped(run: Path) -> None:
    """Make the run up to a checkpoint of its second shard."""
    for batches in range(1, 100):
        shutil.rmtree(run, ignore_errors=True)
        with contextlib.suppress(KeyboardInterrupt):
            audit(run, CONFIG, sampler=Interrupted(batches), prompts=PROMPTS, quiet=True)
        if len(list(run.glob("manifest/*"))) == 1 and len(list(run.glob("partial/*"))) == 1:
            return
    raise AssertionError("no number of batches leaves a checkpoint of the second shard")


def main(target: Path) -> None:
    """Make both, without what only a machine that works on them needs."""
    target = target.absolute()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
    ):  # no place of this machine is recorded
        made = Path()
        make_finished(made / "finished", made)
        make_stopped(made / "stopped")
        for name in ("finished", "stopped"):
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(
                made / name, target / name, ignore=shutil.ignore_patterns(".lock*", "*-shm", "*-wal")
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
