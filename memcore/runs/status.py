"""How far a run is, read from its folder alone, on any machine that sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memcore.engine import status as engine
from memcore.engine.launchers.slurm import script_path
from memcore.runs import layout
from memcore.runs.completeness import judge, not_decided_lines
from memcore.runs.folder import RunFolder
from memcore.runs.freshness import stale_lines
from memcore.storage.open import open_storage


def is_waiting(run: str | Path) -> bool:
    """Tell whether the run was submitted to SLURM and no task has begun: the first one makes the run's folder.

    For a run in an object store this is known only in the directory that it was submitted from, which has its script.
    """
    return script_path(run).is_file() and not open_storage(run).exists(layout.RUN)


def status(folder: RunFolder, now: float | None = None) -> dict[str, Any]:
    """Return the prompts, shards and images done, images a second, seconds left, and what failed.

    ``rate`` counts the time in which a worker was busy with one of the last 64 shards, so that pauses between commands do
    not count. ``seconds_left`` and ``rate`` are None while no shard is done. ``silent_seconds`` is the time since the
    last shard was finished, by this machine's clock. ``not_decided`` says of a run whose shards are all done what its
    verdict does not rest on (``memcore.runs.completeness``), and ``stale`` which derived files do not fit the run as it is
    now (``memcore.runs.freshness``).
    """
    manifests = folder.manifests()
    prompts = sum(len(shard.prompt_ids) for shard in folder.done())
    left = len(folder.prompts) - prompts
    counted = engine.status(folder.storage, len(folder.shards()), manifests, now)
    return {
        "run": folder.place,
        "complete": left == 0,
        "prompts": len(folder.prompts),
        "prompts_done": prompts,
        "shards": counted.tasks,
        "shards_done": counted.done,
        "shards_checkpointed": counted.checkpointed,
        "generated": sum(int(m["generated"]) for m in manifests),
        "images_a_second": counted.rate("generated"),
        "seconds_left": counted.seconds_left(left, "prompts"),
        "findings": sum(int(m.get("findings", 0)) for m in manifests),
        "failed": sum(int(m.get("failed", 0)) for m in manifests),
        "shards_given_up": counted.given_up,
        "silent_seconds": counted.silent_seconds,
        "not_decided": [] if left else judge(folder.storage, folder.meta).as_list(),
        "stale": [entry.as_dict() for entry in folder.stale()],
    }


def status_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the status as lines for people.

    >>> result = {"run": "r", "complete": True, "prompts": 2, "prompts_done": 2, "shards": 1, "shards_done": 1}
    >>> result |= {"generated": 8, "images_a_second": 4.0, "seconds_left": 0.0, "findings": 1, "failed": 0}
    >>> status_lines(result | {"shards_given_up": 0, "shards_checkpointed": 0, "silent_seconds": 3.0})[0]
    'r: done, 2 of 2 prompts (100.0 %), 1 of 1 shards, 8 images, 1 prompts with a finding'
    """
    share = 100 * result["prompts_done"] / result["prompts"]
    lines = [
        f"{result['run']}: {'done' if result['complete'] else 'unfinished'}, "
        f"{result['prompts_done']} of {result['prompts']} prompts ({share:.1f} %), "
        f"{result['shards_done']} of {result['shards']} shards, {result['generated']} images, "
        f"{result['findings']} prompts with a finding"
    ]
    if result["images_a_second"] is not None and not result["complete"]:
        lines.append(
            f"{result['images_a_second']:.1f} images a second, {duration(result['seconds_left'])} left at that rate"
        )
    if result["silent_seconds"] is not None and not result["complete"]:
        lines.append(
            f"the last shard was finished {duration(result['silent_seconds'])} ago; "
            f"{result['shards_checkpointed']} unfinished shards have a checkpoint"
        )
    not_decided = not_decided_lines(result.get("not_decided", []))
    if result["failed"] and not not_decided:
        lines.append(
            f"{result['failed']} prompts failed, {result['shards_given_up']} shards were given up (see quarantine/)"
        )
    return [*lines, *not_decided, *stale_lines(result.get("stale", []))]


def duration(seconds: float) -> str:
    """Return seconds in words.

    >>> duration(59.6), duration(3700), duration(200_000)
    ('60 s', '1 h 1 min', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
