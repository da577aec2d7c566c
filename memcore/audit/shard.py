"""The worker: one shard's prompts sampled (or read), graphed, searched, and written. A pure function of its arguments.

Called twice it writes the same bytes twice; killed at any moment it leaves a shard that is not done, and maybe a
checkpoint of the prompts that are.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from memcore.audit.finish import failed_row, finish_prompt
from memcore.audit.in_flight import Prompt, Stages, new_graph
from memcore.audit.sampled import sample_prompts
from memcore.errors import ImagesChangedError, StoreError
from memcore.images import UnreadableImage
from memcore.runs.folder import RunFolder, Shard, ShardRecord
from memcore.runs.rows import QuarantineRow
from memcore.sampling.protocol import Sampler
from memcore.sources.stored import StoredPrompts
from memcore.system.credentials import redact
from memcore.types import PromptStatus

Progress = Callable[[int], None]
#: What a kill costs at most, but for the prompts at work.
CHECKPOINT_SECONDS = 60.0


def run_shard(
    folder: RunFolder,
    shard: Shard,
    sampler: Sampler | None,
    *,
    stored: StoredPrompts | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """Does one shard and writes it. Exactly one of ``sampler`` and ``stored`` gives the generations.

    ``progress`` is told the number of generations done or, where a prompt stopped early, spared. What cannot be sampled or
    read is quarantined with a reason.
    Finished prompts are written to the shard's checkpoint from time to time, and when the shard is interrupted or fails,
    so that whoever does it next goes on from there. Returns counts: prompts, generated, findings, failed.
    """
    record = folder.read_partial(shard)
    resumed = record.generated
    stages = Stages(record.seconds)
    tell = progress or (lambda count: None)
    finished = {int(row["prompt_id"]) for row in record.rows} | _failed(record)
    tell(resumed if stored is not None else folder.config.generations * len(finished))
    todo = [i for i in shard.prompt_ids if i not in finished]
    if stored is not None:
        source = _read_prompts(folder, todo, stored, stages, record.quarantine, threads, tell)
    else:
        assert sampler is not None
        source = sample_prompts(folder, todo, sampler, stages, record.quarantine, threads, tell)
    saved = time.monotonic()
    try:
        # map, since no name may hold on to a prompt when the next is begun: its images are the memory of a run
        for row in map(functools.partial(finish_prompt, folder, stages), source):
            record.rows.append(row)
            if time.monotonic() - saved >= checkpoint_seconds:
                _checkpoint(folder, shard, record)
                saved = time.monotonic()
    except StoreError:
        raise
    except BaseException:
        _checkpoint(folder, shard, record)
        raise
    complete(folder, shard, record, "empty")
    folder.write_shard(shard, record)
    return {
        "prompts": len(record.rows),
        "generated": record.generated - resumed,
        "findings": sum(row["status"] == PromptStatus.FINDING for row in record.rows),
        "failed": sum(row["status"] == PromptStatus.FAILED for row in record.rows),
    }


def give_up_shard(folder: RunFolder, shard: Shard, reason: str, detail: str) -> None:
    """Writes a shard that failed too often: what its checkpoint holds stays, its other prompts are failed.

    ``reason`` is the code and ``detail`` the traceback that stand in the quarantine.
    """
    record = folder.read_partial(shard)
    complete(folder, shard, record, reason)
    record.quarantine.append(
        {"prompt_id": None, "source": f"shard {shard.id}", "reason": reason, "detail": redact(detail)}
    )
    folder.write_shard(shard, record, given_up=True)


def complete(folder: RunFolder, shard: Shard, record: ShardRecord, reason: str) -> None:
    """Adds a failed row for every prompt of the shard that has none, and puts all in order."""
    missing = set(shard.prompt_ids) - {int(row["prompt_id"]) for row in record.rows}
    reasons = {int(q["prompt_id"]): str(q["reason"]) for q in record.quarantine if q["prompt_id"] is not None}
    record.rows.extend(failed_row(i, folder.prompts[i], reasons.get(i, reason)) for i in sorted(missing))
    record.rows.sort(key=lambda row: int(row["prompt_id"]))
    record.quarantine.sort(key=lambda q: -1 if q["prompt_id"] is None else q["prompt_id"])


def _failed(record: ShardRecord) -> set[int]:
    """Prompts that the sampler refused: their rows are made when the shard is complete."""
    return {
        q["prompt_id"] for q in record.quarantine if q["reason"] == "sampler" and q["prompt_id"] is not None
    }


def _checkpoint(folder: RunFolder, shard: Shard, record: ShardRecord) -> None:
    """Only finished prompts are kept, and of the quarantine what belongs to them: the others are done again."""
    finished = {int(row["prompt_id"]) for row in record.rows} | _failed(record)
    if finished:
        quarantine = [q for q in record.quarantine if q["prompt_id"] in finished]
        folder.write_partial(shard, dataclasses.replace(record, quarantine=quarantine))


def _read_prompts(
    folder: RunFolder,
    todo: Sequence[int],
    stored: StoredPrompts,
    stages: Stages,
    quarantine: list[QuarantineRow],
    threads: int | None,
    tell: Progress,
) -> Iterator[Prompt]:
    """The same from stored generations, a batch of images at a time."""
    for prompt_id in todo:
        text = folder.prompts[prompt_id]
        graph = new_graph(folder.config, stored.image_shape, threads, **stored.images_in(prompt_id))
        prompt = Prompt(prompt_id, text, graph)
        for seeds, broken in stored.feed(prompt_id, graph, stages.timed):
            quarantine.extend(
                {
                    "prompt_id": prompt_id,
                    "source": entry["source"],
                    "reason": entry["reason"],
                    "detail": entry["detail"],
                }
                for entry in broken
            )
            prompt.seeds.extend(seeds)
            tell(len(seeds) + len(broken))
        if not prompt.seeds:
            continue
        try:
            with stages.timed("graph"):
                graph.graph()
        except (ImagesChangedError, UnreadableImage) as error:
            reason = getattr(error, "reason", "changed")
            source = stored.label(prompt_id)
            quarantine.append(
                {"prompt_id": prompt_id, "source": source, "reason": reason, "detail": str(error)}
            )
        else:
            yield prompt
