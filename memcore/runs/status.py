"""How far a run is, from its folder alone: on any machine that sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memcore.engine import status as engine
from memcore.engine.launchers.slurm import script_path
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from memcore.storage.open import open_storage


def is_waiting(run: str | Path) -> bool:
    """Tell whether the run was given to SLURM, and none of its tasks has begun: the first of them makes the run's folder.

    Of a run in an object store that is seen only in the directory that it was submitted from, where its script is kept.
    """
    return script_path(run).is_file() and not open_storage(run).exists(layout.RUN)


def status(folder: RunFolder, now: float | None = None) -> dict[str, Any]:
    """Return the prompts, shards and images done, images a second, seconds left, and what failed.

    ``rate`` counts the time in which at least one of the last 64 shards was at work, so that pauses between two commands
    do not count. ``seconds_left`` and ``rate`` are None while no shard is done. ``silent_seconds`` is the time since the
    last shard was finished, by this machine's clock.
    """
    manifests = folder.manifests()
    prompts = sum(len(shard.prompt_ids) for shard in folder.done())
    left = len(folder.prompts) - prompts
    told = engine.status(folder.storage, len(folder.shards()), manifests, now)
    return {
        "run": folder.place,
        "complete": left == 0,
        "prompts": len(folder.prompts),
        "prompts_done": prompts,
        "shards": told.tasks,
        "shards_done": told.done,
        "shards_checkpointed": told.checkpointed,
        "generated": sum(int(m["generated"]) for m in manifests),
        "images_a_second": told.rate("generated"),
        "seconds_left": told.seconds_left(left, "prompts"),
        "findings": sum(int(m.get("findings", 0)) for m in manifests),
        "failed": sum(int(m.get("failed", 0)) for m in manifests),
        "shards_given_up": told.given_up,
        "silent_seconds": told.silent_seconds,
    }


def status_lines(told: Mapping[str, Any]) -> list[str]:
    """Return the status as lines for people.

    >>> told = {"run": "r", "complete": True, "prompts": 2, "prompts_done": 2, "shards": 1, "shards_done": 1}
    >>> told |= {"generated": 8, "images_a_second": 4.0, "seconds_left": 0.0, "findings": 1, "failed": 0}
    >>> status_lines(told | {"shards_given_up": 0, "shards_checkpointed": 0, "silent_seconds": 3.0})[0]
    'r: done, 2 of 2 prompts (100.0 %), 1 of 1 shards, 8 images, 1 prompts with a finding'
    """
    share = 100 * told["prompts_done"] / told["prompts"]
    lines = [
        f"{told['run']}: {'done' if told['complete'] else 'unfinished'}, {told['prompts_done']} of {told['prompts']} "
        f"prompts ({share:.1f} %), {told['shards_done']} of {told['shards']} shards, {told['generated']} images, "
        f"{told['findings']} prompts with a finding"
    ]
    if told["images_a_second"] is not None and not told["complete"]:
        lines.append(
            f"{told['images_a_second']:.1f} images a second, {duration(told['seconds_left'])} left at that rate"
        )
    if told["silent_seconds"] is not None and not told["complete"]:
        lines.append(
            f"the last shard was finished {duration(told['silent_seconds'])} ago; "
            f"{told['shards_checkpointed']} unfinished shards have a checkpoint"
        )
    if told["failed"]:
        lines.append(
            f"{told['failed']} prompts failed, {told['shards_given_up']} shards were given up (see quarantine/)"
        )
    return lines


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
