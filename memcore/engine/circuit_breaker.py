"""When to end a run that gets nowhere: then not the prompts are at fault, and each further shard would only be lost too."""

from __future__ import annotations

from memcore.errors import WorkerError
from memcore.runs.folder import RunFolder, Shard
from memcore.runs.reading import quarantine_table

#: Shards that must have failed before a run is ended; a run of fewer puts them aside and is through.
SHARDS = 3
#: Tries that failed.
TRIES = 9
#: Prompts that the sampler refused, where shards end without an error: a few such may stand side by side in a good run.
REFUSED = 100


class Hopeless:
    """Counts what fails until something succeeds, for one command. What succeeded in earlier ones does not count."""

    def __init__(self) -> None:
        self._shards: dict[str, Shard] = {}
        self._tries = 0
        self._refused = 0
        self._succeeded = False

    def failed(self, folder: RunFolder, shard: Shard, text: str) -> None:
        """A try at a shard failed; ``text`` is its traceback. WorkerError if the run is to end."""
        self._tries += 1
        self._count(folder, shard, text.strip().rpartition("\n")[2])

    def done(self, folder: RunFolder, shard: Shard, prompts: int, failed: int) -> None:
        """A shard was written, in which ``failed`` of its prompts were refused. WorkerError if the run is to end."""
        if failed < prompts:
            self._succeeded = True
            self._shards.clear()
        elif not self._succeeded:
            self._refused += failed
            details = quarantine_table(folder.storage, f"shard-{shard.id}")["detail"].to_pylist()
            self._count(folder, shard, str(details[-1]) if details else "no image could be read")

    def _count(self, folder: RunFolder, shard: Shard, cause: str) -> None:
        if self._succeeded:
            return
        self._shards[shard.id] = shard
        if len(self._shards) < SHARDS or (self._tries < TRIES and self._refused < REFUSED):
            return
        finished = {s.id for s in folder.done()}
        for tried in self._shards.values():
            if tried.id in finished:
                folder.forget(tried)  # it holds nothing but failures, which the next command may spare it
        raise WorkerError(
            f"not one of {len(self._shards)} shards could be done, so that {folder.place} is left as it was. The last "
            f"error: {cause}\nMend it, and the same command goes on"
        )
