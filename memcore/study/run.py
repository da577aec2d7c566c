"""Run a study: train and attack every model of a protocol that is not done yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from memcore.engine import task as engine
from memcore.engine.launchers import make_pool
from memcore.engine.launchers.base import Resources
from memcore.engine.launchers.local import check_program
from memcore.engine.presence import Presence
from memcore.engine.scheduler import run_pool
from memcore.storage.base import Part
from memcore.study.folder import PROTOCOL, StudyFolder, StudyStart
from memcore.study.protocols.read import read_bytes
from memcore.study.task import StudyJob
from memcore.system.cpus import processors
from memcore.system.gpus import visible_gpus
from memcore.system.progress import say


def run_study(
    protocol: str | Path,
    study: str | Path,
    *,
    workers: int | None = None,
    paths: Mapping[str, str] | None = None,
    part: Part | None = None,
    quiet: bool = False,
    retry: bool = False,
    finished: str | Path | None = None,
    launcher: str = "local",
    ray_address: str | None = None,
) -> StudyFolder:
    """Train and attack every model that is not done yet, and return the study's folder.

    The same protocol on the same machine gives the same bytes, whatever was killed in between: each model is computed on
    one thread, by one worker.

    Parameters
    ----------
    protocol
        A TOML file, or the name of a shipped protocol.
    study
        A path, or a URL that fsspec knows. An existing study is resumed.
    workers
        Processes; by default one a processor, and one a GPU where the protocol's device is "cuda".
    paths
        Where data sets are, by their names in the protocol.
    part
        (k, n): do the k-th of n parts of the models.
    quiet
        Show no progress.
    retry
        Do models again that were given up because they failed three times.
    finished
        Another study, whose finished models are taken over where they are the same: factors, seed, data, checkpoints,
        attacks and their settings. Their files are checked and copied.
    launcher, ray_address
        "ray" runs the workers on the cluster at ``ray_address``, or on one that is started here.

    A program that starts worker processes calls this under ``if __name__ == "__main__":``, since each of them imports it.

    Raises
    ------
    ConfigError
        The protocol cannot be run, or is another one than the study's.
    RunError, StoreError, WorkerError
        The folder holds something else, cannot be written, or workers cannot start.

    Examples
    --------
    >>> folder = run_study("quick", "study")  # doctest: +SKIP
    """
    if launcher == "local":
        check_program()
    job = StudyJob(
        StudyStart(str(study), read_bytes(protocol), str(protocol), paths),
        retry=retry,
        finished=str(finished or ""),
        quiet=quiet,
    )
    if finished:
        StudyFolder.open(str(finished))
    on_gpu = job.start.protocol.device != "cpu"
    job.start.check_startable()
    existing = StudyFolder.open(str(study)) if job.start.storage.exists(PROTOCOL) else None
    gpus = visible_gpus(job.start.protocol.device) if launcher == "local" else ()
    most = max(1, len(gpus)) if on_gpu else processors()
    count = min(workers or most, job.useful_workers(existing, part))
    say("loading the data", quiet=quiet)
    resources = Resources(1, int(on_gpu), ray_address, gpus)
    with _locked(job, part) as presence:
        return run_pool(job, make_pool(launcher, job.work, resources), count, part, presence)


@contextlib.contextmanager
def _locked(job: StudyJob, part: Part | None) -> Iterator[Presence]:
    """Hold the study's lock; unless it is interrupted, remove what killed workers left at its end."""
    with job.start.storage.lock(part) as lock:
        try:
            yield Presence(lock)
        finally:
            job.close()
        engine.tidy(job.start.storage)
