"""Tell prompts that a sampler refuses from a sampler that fails: an expired token, a spent quota, a lost GPU.

An error that a sampler does not mark as of the moment may be the fault of its prompt or of the sampler. After some failures
in a row, and at the end of a shard, the sampler is asked again for an image that it has made before. If it makes it, the
prompts are at fault and have failed. If not, no prompt has failed: the run ends and can be resumed. A sampler that is
asked for each image once tells them apart itself, by StoppedError.
"""

from __future__ import annotations

from memcore.audit.context import ShardContext
from memcore.errors import SamplerError, TransientError
from memcore.sampling.batches import RequestBatch, SeedRun
from memcore.sampling.protocol import Sampler, asks_once
from memcore.sampling.sample import sample_batch
from memcore.system.credentials import redact

#: Failed prompts in a row after which the sampler is tested; after each test that it passes, twice as many.
IN_A_ROW = 10


class Failures:
    """The prompts of a shard that failed since the last one that did not."""

    def __init__(self, context: ShardContext, sampler: Sampler) -> None:
        self._context = context
        self._sampler = sampler
        self._allowed = IN_A_ROW

    def add(self, run: SeedRun, error: SamplerError) -> None:
        """Note that a prompt failed."""
        self._context.quarantine(run.prompt_id, run.prompt, "sampler", redact(str(error)))
        if not asks_once(self._sampler):
            self._context.saver.unconfirmed.add(run.prompt_id)

    def succeeded(self, batch: RequestBatch) -> None:
        """Note that the sampler answered: what failed before was the prompts' fault."""
        self._context.watch.answered = batch.runs[0]
        self._context.saver.unconfirmed.clear()
        self._allowed = IN_A_ROW

    def check(self, *, at_end: bool = False) -> None:
        """Test the sampler if it is time. Raises TransientError if it fails; the failed prompts are then forgotten."""
        failed = self._context.saver.unconfirmed
        known = self._context.watch.answered
        if not failed or known is None or (len(failed) < self._allowed and not at_end):
            return
        request = RequestBatch([known._replace(seeds=known.seeds[:1])])
        try:
            for _, answer in sample_batch(self._sampler, request, self._context.stages.timed):
                if isinstance(answer, SamplerError):
                    raise answer
        except SamplerError as error:
            self._forget(failed)
            count = (
                f"{len(failed)} prompts failed one after the other" if len(failed) > 1 else "a prompt failed"
            )
            raise TransientError(f"{count}, and so did one that it had sampled before: {error}") from error
        failed.clear()
        self._allowed *= 2

    def _forget(self, failed: set[int]) -> None:
        entries = self._context.record.quarantine
        entries[:] = [e for e in entries if e["reason"] != "sampler" or e["prompt_id"] not in failed]
