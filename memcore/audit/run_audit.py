"""Run an audit: sample a model's generations, or read stored ones, and find the prompts with cliques of copies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from memcore import arrays
from memcore.audit.conditions import read_prompt_list, with_image_size
from memcore.audit.journal import BUDGET_BYTES
from memcore.audit.receiving import check_spending, read_money
from memcore.audit.source import check_model, stored_prompts
from memcore.audit.task import AuditJob
from memcore.engine import task as engine
from memcore.engine.launchers import make_pool
from memcore.engine.launchers.base import Resources
from memcore.engine.launchers.local import check_program
from memcore.engine.presence import Presence
from memcore.engine.scheduler import run_here, run_pool
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.prompts import Entry
from memcore.runs.start import check_startable
from memcore.sampling.named import is_hosted
from memcore.sampling.protocol import Sampler, asks_once, check_sampler
from memcore.storage.base import Part
from memcore.system.cpus import processors
from memcore.system.gpus import visible_gpus
from memcore.system.progress import say


def audit(
    run: str | Path | RunFolder,
    config: Config,
    *,
    sampler: Sampler | None = None,
    prompts: Iterable[Entry] | None = None,
    workers: int | None = None,
    threads: int | None = None,
    part: Part | None = None,
    quiet: bool = False,
    retry: bool = False,
    retry_failed: bool = False,
    launcher: str = "local",
    ray_address: str | None = None,
    journal_bytes: int = BUDGET_BYTES,
    price_per_image: str | float | Decimal | None = None,
    max_cost: str | float | Decimal | None = None,
) -> RunFolder:
    """Sample, graph and search every prompt that is not done yet, and return the run's folder.

    With ``sampler`` (any ``memcore.sampling.Sampler``) and ``prompts`` a program audits its own generator in this
    process, with ``Config(source="custom", ...)``. Otherwise each worker process loads what ``config`` names.
    ``prompts`` are texts, or pairs of a text and a ``Condition``. ``run`` is a path, a URL that fsspec knows, or an
    opened run. ``workers`` defaults to the processors on a CPU, and with ``device="cuda"`` to one for each GPU, which
    sees that one alone; ``threads`` are threads a worker. ``part`` (k, n) does the k-th of n parts. ``retry`` repeats
    shards that were given up because they failed three times, ``retry_failed`` the prompts that failed in others.
    ``launcher`` "ray" runs the workers on the cluster at ``ray_address``, or on one that is started here.
    ``journal_bytes`` are what each worker's images of unfinished prompts may take on the disk, so that a kill costs a
    minute of sampling at most; 0 keeps none. ``price_per_image`` of a hosted model is recorded with each image that is
    asked for; before ``max_cost`` would be passed, with what the run spent already, it stops, and can be resumed with a
    larger one.

    A program that starts worker processes calls this under ``if __name__ == "__main__":``, since each of them imports it.

    Raises ConfigError (a changed configuration, with its difference), ArgumentValueError (``journal_bytes``, an amount),
    StoppedError (``max_cost``), StoreError, WorkerError, RunError.
    """
    arrays.check_count(journal_bytes, "journal_bytes", 0)
    price, limit = read_money(price_per_image, "price_per_image"), read_money(max_cost, "max_cost")
    named_sampler = config.source == "custom" and bool(config.sampler)
    hosted = is_hosted(config.sampler, certainly=price is not None) if named_sampler else asks_once(sampler)
    check_spending(
        price, limit, hosted=hosted, processes=(workers or 1) > 1 or part is not None or launcher != "local"
    )
    if config.source == "custom" and not config.sampler:
        if sampler is None or prompts is None:
            raise ConfigError(
                "source='custom' needs sampler='module:attribute', or sampler and prompts from a program"
            )
        check_sampler(sampler)
        config = with_image_size(config, prompts)
        job = AuditJob(
            run,
            config,
            prompts,
            source=sampler,
            retry=retry,
            retry_failed=retry_failed,
            quiet=quiet,
            journal_bytes=journal_bytes,
            price=price,
            max_cost=limit,
        )
        with _locked(job, part) as presence:
            return run_here(job, part=part, threads=threads, presence=presence)
    if launcher == "local":
        check_program()
    named = prompts if prompts is not None else read_prompt_list(config)
    config = with_image_size(config, named)
    # a hosted model is asked by threads of one worker: its own processors make the images
    gpus = visible_gpus(config.device) if launcher == "local" and not hosted else ()
    most = processors() if config.device == "cpu" and not hosted else max(1, len(gpus))
    job = AuditJob(
        run,
        config,
        named,
        retry=retry,
        retry_failed=retry_failed,
        quiet=quiet,
        journal_bytes=journal_bytes,
        price=price,
        max_cost=limit,
    )
    if launcher == "local" and config.source == "diffusers":  # other launchers' workers may see other folders
        check_model(config.model)
    say(f"loading {config.model or config.sampler}", quiet=quiet)
    count = min(workers or most, job.useful_workers(part))
    if threads is None and config.device == "cpu":
        threads = max(1, processors() // count)
    resources = Resources(threads, int(config.device != "cpu"), ray_address, gpus)
    return _launch(job, launcher, resources, count, part)


def filter_stored(
    run: str | Path | RunFolder,
    config: Config,
    *,
    workers: int | None = None,
    threads: int | None = None,
    part: Part | None = None,
    quiet: bool = False,
    retry: bool = False,
    retry_failed: bool = False,
    launcher: str = "local",
    ray_address: str | None = None,
) -> RunFolder:
    """Graph and search stored generations, as ``audit`` does sampled ones; ``StoredPrompts`` says in which layouts."""
    if launcher == "local":
        check_program()
    stored = stored_prompts(config)
    total = sum(stored.count(i) for i in range(len(stored.prompts)))
    job = AuditJob(
        run, config, stored.prompts, total=total, retry=retry, retry_failed=retry_failed, quiet=quiet
    )
    count = min(workers or processors(), job.useful_workers(part))
    resources = Resources(threads or 1, int(config.device != "cpu"), ray_address)
    return _launch(job, launcher, resources, count, part)


def _launch(job: AuditJob, launcher: str, resources: Resources, workers: int, part: Part | None) -> RunFolder:
    """Start workers, which do the shards that are not done yet."""
    with _locked(job, part) as presence:
        return run_pool(job, make_pool(launcher, job.work, resources), workers, part, presence)


@contextlib.contextmanager
def _locked(job: AuditJob, part: Part | None) -> Iterator[Presence]:
    """Hold the run's lock; unless the run is interrupted, remove what killed workers left at its end."""
    check_startable(job.start.storage)
    with job.start.storage.lock(part) as lock:
        try:
            yield Presence(lock)
        finally:
            job.close()
        engine.tidy(job.start.storage)
