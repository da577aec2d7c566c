"""A run that is about to be started or resumed: its folder is opened once, and its prompts are read once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from memcore.errors import ConfigError, RunError
from memcore.runs import layout
from memcore.runs.conditions import store_conditions
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.meta import explain_difference, make_meta, meta_bytes
from memcore.runs.prompts import Entry, PromptList, scan_prompts
from memcore.runs.reading import FORMAT
from memcore.runs.shards import check_shard_count
from memcore.storage.base import Storage
from memcore.storage.digests import digest_stream
from memcore.storage.local import LocalStorage
from memcore.storage.open import open_storage

#: Bytes of a new run's prompts.parquet that are held in memory until it is moved into place; more are on the disk.
PROMPTS_BYTES = 16 << 20


class RunStart:
    """A run that is about to be started or resumed: it is opened once, and its prompts are read once.

    The number of useful workers is known before a worker has said what it samples with, which the digest needs.
    """

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"RunStart({self.storage.place!r}, prompts={self.prompts.count}, exists={self.run is not None})"
        )

    def __init__(self, place: str | Path | RunFolder, config: Config, prompts: Iterable[Entry]) -> None:
        """Open the run in ``place`` if there is one (or take an opened one), and read the prompts.

        Raises ConfigError if there are no prompts, or if one cannot be stored.
        """
        self.storage = place.storage if isinstance(place, RunFolder) else open_storage(place)
        self.config = config
        #: The run, once it exists.
        self.run: RunFolder | None = place if isinstance(place, RunFolder) else self._open()
        self._copy: IO[bytes] | None = None
        self._given = prompts  # gone through again if their images are to be stored
        if self.run is None:
            # it has no name, so that nothing is left of it after a kill
            self._copy = tempfile.SpooledTemporaryFile(PROMPTS_BYTES)  # noqa: SIM115
        self.prompts: PromptList = scan_prompts(prompts, self._copy)
        if not self.prompts.count:
            raise ConfigError("there is not a single prompt")
        if self.run is None:
            check_shard_count(config, self.prompts.count)
        else:
            self._check_before_loading(self.run)

    def _open(self) -> RunFolder | None:
        return RunFolder.open_storage(self.storage) if self.storage.exists(layout.RUN) else None

    def create(self, fingerprint: str, describe: Mapping[str, str]) -> RunFolder:
        """Start the run, or resume the one that is there if its configuration is the same, and return its folder.

        Raises ConfigError with the lines that differ, and RunError if the place holds something else.
        """
        digest = self.config.digest(fingerprint, self.prompts.digest)
        run = self.run or self._open()  # another launcher may have started it in the meantime
        if run is None:
            run = self._write(digest, fingerprint, describe)
        self._check(run, digest, describe)
        self.run = run
        return run

    def _write(self, digest: str, fingerprint: str, describe: Mapping[str, str]) -> RunFolder:
        assert self._copy is not None
        check_startable(self.storage)
        with self._copy as copy:
            copy.seek(0)
            file = digest_stream(copy)
            meta = make_meta(self.config, digest, fingerprint, describe, self.prompts, file)
            if {"image", "mask"} & set(self.prompts.conditions):
                store_conditions(self.storage, self._given, self.prompts)
            self.storage.write_from(layout.PROMPTS, copy)
        self.storage.write_new(layout.RUN, meta_bytes(meta))  # another launcher may have been faster
        return RunFolder.open_storage(self.storage)

    def _check_before_loading(self, run: RunFolder) -> None:
        """Refuse what is known without the sampler: an earlier format, another configuration, other prompts."""
        self._check_format(run)
        told = run.meta["prompts"].get("digest", "")
        if run.config.digest("", told) != self.config.digest("", self.prompts.digest):
            same = run.meta["sampler"]["describe"]
            raise ConfigError(
                explain_difference(run.place, run.meta, run.config, self.config, same, self.prompts)
            )

    def _check(self, run: RunFolder, digest: str, describe: Mapping[str, str]) -> None:
        """Raise RunError or ConfigError unless the run can be resumed."""
        self._check_format(run)
        if run.digest != digest:
            raise ConfigError(
                explain_difference(run.place, run.meta, run.config, self.config, describe, self.prompts)
            )

    def _check_format(self, run: RunFolder) -> None:
        found = run.meta["run"]["format"]
        if found != FORMAT:
            raise RunError(
                f"{run.place} was made by memcore {run.meta['run'].get('memcore', '?')} (run format {found}); it can be "
                "read, but nothing is added to it, since its files have no digests. Start again in another folder"
            )


def check_startable(storage: Storage) -> None:
    """Raise RunError unless a run may be started or resumed there: foreign folders are never written into."""
    if isinstance(storage, LocalStorage) and storage.path.exists() and not storage.path.is_dir():
        raise RunError(f"{storage.place} is a file: choose a folder for the run")
    names = storage.names()
    if layout.RUN in names or all(n in layout.BEFORE_THE_START or n.startswith(".") for n in names):
        return
    raise RunError(
        f"{storage.place} is not empty and holds no {layout.RUN}: choose another folder for the run"
    )
