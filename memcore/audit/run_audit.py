"""The steps of an audit on a run folder: sample or read, match, evaluate. The command line and programs call these."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from memcore.audit.source import Identity, identity_of
from memcore.engine.launchers.local import LocalPool, processors
from memcore.engine.scheduler import Pool, pending_of, run_here, run_pool
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, shard_size
from memcore.runs.prompts import prompts_of
from memcore.sampling.protocol import Sampler
from memcore.sources.stored import stored_prompts
from memcore.storage.base import Part, open_storage
from memcore.system.progress import Progress


def audit(
    run: str | Path,
    config: Config,
    *,
    sampler: Sampler | None = None,
    prompts: Sequence[str] | None = None,
    workers: int | None = None,
    threads: int | None = None,
    part: Part | None = None,
    quiet: bool = False,
    retry: bool = False,
    launcher: str = "local",
    ray_address: str | None = None,
) -> RunFolder:
    """Samples, graphs and searches every prompt that is not done yet, and returns the run's folder.

    With ``sampler`` (any ``memcore.sampling.Sampler``) and ``prompts`` a program audits its own generator in this
    process, with ``Config(source="custom", ...)``. Otherwise ``config`` says what to load, once a worker process.
    ``run`` is a path, or a URL that fsspec knows. ``workers`` defaults to the processors on a CPU and to one on a GPU;
    ``threads`` are threads a worker. ``part`` (k, n) does the k-th of n parts. ``retry`` does shards again that were put
    aside because they failed three times. ``launcher`` "ray" has the workers on the cluster at ``ray_address``, or on one
    that is started here.

    Raises ConfigError (a changed configuration, with its difference), StoreError, WorkerError, RunError.
    """
    if config.source == "custom" and not config.sampler:
        if sampler is None or prompts is None:
            raise ConfigError(
                "source='custom' needs sampler='module:attribute', or sampler and prompts from a program"
            )
        identity = identity_of(sampler)
        with open_storage(run).lock(part):
            folder = _started(run, config, prompts, retry, identity)
            with _progress(folder, None, quiet) as tell:
                run_here(folder, pending_of(folder, part), sampler, threads, tell)
            folder.tidy()
        return folder
    if not config.prompts and prompts is None:
        raise ConfigError("prompts is missing: a text file with one prompt a line, or a Parquet file")
    named = prompts if prompts is not None else prompts_of(Path(config.prompts))
    most = processors() if config.device == "cpu" else 1
    return _launch(run, config, named, workers or most, threads, part, quiet, retry, (launcher, ray_address))


def filter_stored(
    run: str | Path,
    config: Config,
    *,
    workers: int | None = None,
    threads: int | None = None,
    part: Part | None = None,
    quiet: bool = False,
    retry: bool = False,
    launcher: str = "local",
    ray_address: str | None = None,
) -> RunFolder:
    """The same over stored generations (see ``StoredPrompts`` for the layout that is read)."""
    stored = stored_prompts(config)
    total = sum(stored.count(i) for i in range(len(stored.prompts)))
    named = stored.prompts
    where = (launcher, ray_address)
    return _launch(
        run, config, named, workers or processors(), threads or 1, part, quiet, retry, where, total
    )


def _launch(
    run: str | Path,
    config: Config,
    prompts: Iterable[str],
    workers: int,
    threads: int | None,
    part: Part | None,
    quiet: bool,
    retry: bool,
    where: tuple[str, str | None],
    total: int | None = None,
) -> RunFolder:
    """Has worker processes do what is not done yet."""
    count = min(workers, _shards_left(run, config, prompts, part, retry))
    if threads is None and config.device == "cpu":
        threads = max(1, processors() // count)
    with open_storage(run).lock(part), contextlib.ExitStack() as stack:
        tell: list[Callable[[int], None]] = []

        def opened(identity: Identity) -> RunFolder:
            folder = _started(run, config, prompts, retry, identity)
            tell.append(stack.enter_context(_progress(folder, total, quiet)))
            return folder

        pool = _pool(config, threads, *where)
        folder = run_pool(pool, count, opened, part, lambda more: tell[0](more))
        folder.tidy()
    return folder


def _pool(config: Config, threads: int | None, launcher: str, ray_address: str | None) -> Pool:
    if launcher == "ray":
        from memcore.engine.launchers.ray import RayPool

        return RayPool(config, threads, ray_address)
    if launcher != "local":
        raise ConfigError(f"launcher must be local or ray, got {launcher!r} (slurm is of the command line)")
    return LocalPool(config, threads)


def _shards_left(
    run: str | Path, config: Config, prompts: Iterable[str], part: Part | None, retry: bool
) -> int:
    """How many workers can have something to do; one at least, which finds out whether the run is still the same."""
    if not open_storage(run).exists("run.toml"):
        n = sum(1 for _ in prompts)
        shards = -(-n // shard_size(config, n)) if n else 1
        return max(1, -(-shards // part[1]) if part else shards)
    folder = RunFolder.open(run)
    again = len(folder.given_up()) if retry else 0
    return max(1, len(pending_of(folder, part)) + again)


def _started(
    run: str | Path, config: Config, prompts: Iterable[str], retry: bool, identity: Identity
) -> RunFolder:
    """The run's folder, created or opened, with nothing in it that killed writers left."""
    folder = RunFolder.create(run, config, identity.fingerprint, identity.describe, prompts)
    folder.storage.clean()
    if retry:
        for shard in folder.given_up():
            folder.forget(shard)
    return folder


@contextlib.contextmanager
def _progress(folder: RunFolder, total: int | None, quiet: bool) -> Iterator[Callable[[int], None]]:
    each = folder.config.generations
    whole = total if total is not None else each * len(folder.prompts)
    # a prompt that stopped early counts in full: what it spared is not left to do
    done = sum(
        int(m["generated"]) if total is not None else each * int(m["prompts"]) for m in folder.manifests()
    )
    progress = Progress(whole, f"audit {folder.place.rstrip('/').rpartition('/')[2]}", done=done, quiet=quiet)
    try:
        yield progress.advance
    finally:
        progress.close()
