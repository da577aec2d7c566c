"""What a worker does, wherever it runs: it prepares itself once, and then does a task at a time. Every error is data."""

from __future__ import annotations

import traceback
from typing import Any, Generic, Literal

from memcore.engine.task import F, OnProgress, Work
from memcore.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigError,
    MemcoreError,
    MissingExtraError,
    StoppedError,
    StoreError,
    TransientError,
)
from memcore.system.credentials import redact
from memcore.system.raised import raised_text

#: What a worker can report; ``launchers.base.Event`` says of what.
Kind = Literal["ready", "progress", "done", "failed", "died", "usage", "store", "load", "outage", "stopped"]


class Worker(Generic[F]):
    """A work and the folder that its launcher handed down. Each answer is the kind of an ``Event`` and its value."""

    def __init__(self, work: Work[F], threads: int | None) -> None:
        self._work = work
        self._threads = threads
        self._folder: F | None = None

    def prepare(self) -> tuple[Kind, Any]:
        """Prepare the work: "ready" with its Identity, or what is wrong."""
        try:
            return "ready", self._work.prepare(self._threads)
        except Exception as error:
            kind, text = classify(error)
            if kind == "failed":
                return "load", redact(str(error) if isinstance(error, MemcoreError) else raised_text(error))
            return kind, text

    def do(
        self, folder: F | None, task: str, on_progress: OnProgress, checkpoint_seconds: float
    ) -> tuple[Kind, Any]:
        """Do one task: "done" with its Counts, or what is wrong. ``folder`` is needed with the first task only."""
        self._folder = self._folder or folder
        assert self._folder is not None
        try:
            return "done", self._work.run(self._folder, task, on_progress, checkpoint_seconds)
        except Exception as error:
            return classify(error)


def classify(error: Exception) -> tuple[Kind, str]:
    """Return whether an error ends the job (wrong usage, a store that cannot be written) or only the try at this task."""
    if isinstance(error, StoreError):
        return "store", str(error)
    if isinstance(error, TransientError):
        return "outage", redact(str(error))
    if isinstance(error, StoppedError):
        return "stopped", redact(str(error))
    if isinstance(error, ArgumentTypeError | ArgumentValueError | ConfigError | MissingExtraError):
        return "usage", redact(str(error))
    return "failed", redact("".join(traceback.format_exception(error)))
