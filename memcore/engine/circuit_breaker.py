"""When to end a job that makes no progress: the tasks are not the cause, and every further one would fail too."""

from __future__ import annotations

from typing import Generic

from memcore.engine.task import Counts, F, Job, finished
from memcore.errors import WorkerError
from memcore.system.units import count

#: Tasks that must have failed before a job is ended; a job of fewer gives them up and is finished.
TASKS = 3
#: Tries that failed.
TRIES = 9
#: Tasks that must have failed one after the other once something succeeded: a few bad ones may be neighbours.
IN_A_ROW = 10
#: Items that failed, where tasks end without an error: a good job may have a few such tasks in a row.
REFUSED = 100


class CircuitBreaker(Generic[F]):
    """Counts failures in a row, for one command: a task that succeeds starts the count again.

    Tasks that raise or whose workers die end the job at any time. Tasks that end without an error but with nothing except
    refused items do so only while nothing has succeeded: a sampler may refuse many prompts side by side for good reasons.
    Whether it is the prompts' fault then is found out by the worker, which raises TransientError if it is not.
    """

    def __init__(self, job: Job[F], folder: F) -> None:
        self._job = job
        self._folder = folder
        self._failing: dict[str, None] = {}
        self._tries = 0
        self._refused = 0
        self._succeeded = False
        self._nothing_but_refused: list[str] = []

    def on_failure(self, task: str, text: str) -> None:
        """Count a failed try at a task; ``text`` is its traceback. Raises WorkerError if the job is to end."""
        self._tries += 1
        self._count(task, text.strip().rpartition("\n")[2])

    def on_done(self, task: str, counts: Counts) -> None:
        """Count a task that was written. Raises WorkerError if the job is to end."""
        if counts.failed < counts.items:
            self._succeeded = True
            self._failing.clear()
            self._tries = self._refused = 0
            return
        self._nothing_but_refused.append(task)
        if not self._succeeded:
            self._refused += counts.failed
            self._count(task, counts.error)

    def on_outage(self) -> None:
        """Have tasks done again of which nothing succeeded: a worker that had just begun could not tell why."""
        for task in self._nothing_but_refused:
            self._job.forget(self._folder, task)

    def _count(self, task: str, cause: str) -> None:
        self._failing[task] = None
        if len(self._failing) < (IN_A_ROW if self._succeeded else TASKS):
            return
        if self._tries < TRIES and self._refused < REFUSED:
            return
        done = set(finished(self._folder.storage))
        for tried in self._failing:
            if tried in done:
                # it holds nothing but failures, which the next command may spare it
                self._job.forget(self._folder, tried)
        failed, place = len(self._failing), self._folder.storage.place
        what = (
            f"{count(failed, self._job.noun)} failed one after the other, so {place} is left as it was before them"
            if self._succeeded
            else f"not one of {count(failed, self._job.noun)} could be done, so {place} is left as it was"
        )
        raise WorkerError(
            f"{what}. The last error: {cause}\nFix it, and give the same command again: it resumes the run"
        )
