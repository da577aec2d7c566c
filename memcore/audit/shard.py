"""Do one shard: sample or read its prompts, graph and search them, and write them. A pure function of its arguments.

Called twice it writes the same bytes twice; killed at any moment it leaves a shard that is not done, and maybe a
checkpoint of its finished prompts and a journal of images of the others.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from memcore.audit.context import ShardContext
from memcore.audit.finish import failed_row, finish_prompt
from memcore.audit.journal import ImageJournal
from memcore.audit.receiving import read_shard_spent, receiving, remove_received
from memcore.audit.sampled import sample_prompts
from memcore.audit.saving import Saver
from memcore.audit.stored import read_prompts
from memcore.engine.task import CHECKPOINT_SECONDS
from memcore.errors import StoreError
from memcore.runs.folder import RunFolder, Shard, ShardRecord
from memcore.sampling.protocol import asks_once
from memcore.sources.by_prompt import StoredPrompts
from memcore.system.credentials import redact
from memcore.types import PromptStatus


def run_shard(
    context: ShardContext, shard: Shard, *, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> dict[str, Any]:
    """Do one shard of the context's run and write it.

    The context's ``on_progress`` gets the generations that were made, those that an earlier try had made, and those that
    are spared, since a prompt stopped early or failed. What cannot be sampled or read is quarantined with a reason.
    Finished prompts are written to the shard's checkpoint every ``checkpoint_seconds``, and when the shard is interrupted or
    fails; images of the others to its journal. The next worker resumes there. Returns counts: prompts, generated, findings,
    failed.
    """
    folder, record = context.folder, context.folder.read_partial(shard)
    context = dataclasses.replace(context, record=record)
    context.saver = saver = Saver(folder, shard, record, checkpoint_seconds)
    resumed = record.generated
    with receiving(context, shard):
        _finish_prompts(context, shard)
    complete(folder, shard, record, "empty")
    spent = read_shard_spent(context, shard)
    folder.write_shard(shard, record, spent=spent)
    if saver.journal is not None:
        saver.journal.remove()
    remove_received(context, shard, spent)
    return {
        "prompts": len(record.rows),
        "generated": record.generated - resumed,
        "findings": sum(row["status"] == PromptStatus.FINDING for row in record.rows),
        "failed": sum(row["status"] == PromptStatus.FAILED for row in record.rows),
    }


def _finish_prompts(context: ShardContext, shard: Shard) -> None:
    """Sample or read the shard's prompts that its record lacks, and finish each."""
    folder, record, saver = context.folder, context.record, context.saver
    resumed = record.generated
    todo = [i for i in shard.prompt_ids if i not in saver.finished()]
    if isinstance(context.source, StoredPrompts):
        context.on_progress(kept=resumed)
        prompts = read_prompts(context, context.source, todo)
    else:
        expected = context.config.generations * (len(shard.prompt_ids) - len(todo))
        context.on_progress(kept=resumed, spared=expected - resumed)
        shape = context.source.image_shape
        kept = (
            0 if asks_once(context.source) else context.journal_bytes
        )  # what was received is kept as it came
        saver.journal = ImageJournal(folder, shard, todo, shape, kept)
        prompts = sample_prompts(context, context.source, todo)
    try:
        # map: no name may keep a prompt alive when the next one is begun, since its images are the memory of a run
        for prompt_id in map(functools.partial(finish_prompt, context), prompts):
            saver.on_finished(prompt_id)
    except StoreError:
        raise
    except BaseException:
        saver.save()
        raise


def give_up_shard(folder: RunFolder, shard: Shard, reason: str, detail: str) -> None:
    """Write a shard that failed too often: the rows of its checkpoint are kept, its other prompts are marked as failed.

    ``reason`` is the code and ``detail`` the traceback for the quarantine.
    """
    record = folder.read_partial(shard)
    complete(folder, shard, record, reason)
    record.quarantine.append(
        {"prompt_id": None, "source": f"shard {shard.id}", "reason": reason, "detail": redact(detail)}
    )
    folder.write_shard(shard, record, given_up=True)


def complete(folder: RunFolder, shard: Shard, record: ShardRecord, reason: str) -> None:
    """Add a failed row for each prompt of the shard without a row, and sort all."""
    missing = set(shard.prompt_ids) - {int(row["prompt_id"]) for row in record.rows}
    reasons = {int(q["prompt_id"]): str(q["reason"]) for q in record.quarantine if q["prompt_id"] is not None}
    record.rows.extend(failed_row(i, folder.prompts[i], reasons.get(i, reason)) for i in sorted(missing))
    record.rows.sort(key=lambda row: int(row["prompt_id"]))
    record.quarantine.sort(key=lambda q: -1 if q["prompt_id"] is None else q["prompt_id"])
