"""What every launcher offers: a pool of workers, and the events by which they report."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeVar

from memcore.engine.task import Folder
from memcore.engine.worker import Kind

FolderIn = TypeVar("FolderIn", bound=Folder, contravariant=True)


@dataclasses.dataclass(frozen=True)
class Event:
    """What a worker reports: ``value`` is its Identity, Progressed, Counts, or a text."""

    worker: int
    kind: Kind
    value: Any = None


@dataclasses.dataclass(frozen=True)
class Resources:
    """What each worker asks for, and where: ``address`` names a cluster, for launchers that know one.

    ``devices`` are the GPUs of this machine, as CUDA_VISIBLE_DEVICES names them, among which local workers are spread: each
    sees one of them alone.
    """

    threads: int | None = None
    gpus: int = 0
    address: str | None = None
    devices: tuple[str, ...] = ()


class Pool(Protocol[FolderIn]):
    """Workers of some kind. Each prepares itself once, reports that it is ready, and then does a task at a time."""

    def start(self) -> None:
        """Start one more worker."""
        ...

    def assign(self, worker: int, folder: FolderIn, task: str, checkpoint_seconds: float) -> None:
        """Have a worker that is ready do a task."""
        ...

    def events(self) -> list[Event]:
        """Return what was reported since; wait for at most about a second."""
        ...

    def end(self, worker: int) -> None:
        """Stop an idle worker."""
        ...

    def close(self) -> None:
        """Stop all workers: at the end, on an error, and on an interrupt, when unfinished tasks write a checkpoint."""
        ...
