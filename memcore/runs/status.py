"""How far a run is, from its folder alone: on any machine that sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.engine.launchers.slurm import script_of
from memcore.runs.folder import RunFolder
from memcore.runs.rows import ManifestRecord
from memcore.storage.base import open_storage

#: Shards that the rate is taken from: the last ones, since a run may have been slower or faster before.
RECENT = 64


def is_waiting(run: str | Path) -> bool:
    """Whether the run was given to SLURM, and none of its tasks has begun: the first of them makes the run's folder.

    Of a run in an object store that is seen only in the directory that it was submitted from, where its script stands.
    """
    return script_of(run).is_file() and not open_storage(run).exists("run.toml")


def status(folder: RunFolder, now: float | None = None) -> dict[str, Any]:
    """Prompts, shards and images done, images a second, seconds left, and what failed.

    ``rate`` counts the time in which at least one of the last 64 shards was at work, so that pauses between two commands
    do not count. ``seconds_left`` and ``rate`` are None while no shard is done. ``silent_seconds`` is the time since the
    last shard was finished, by this machine's clock.
    """
    manifests = folder.manifests()
    shards = folder.shards()
    prompts = sum(len(shard.prompt_ids) for shard in folder.done())
    rate, prompt_rate = _rates([m for m in manifests if "finished" in m])
    left = len(folder.prompts) - prompts
    last = max((float(m["finished"]) for m in manifests if "finished" in m), default=None)
    at_work = len(set(folder.storage.names("partial")))
    return {
        "run": folder.place,
        "complete": left == 0,
        "prompts": len(folder.prompts),
        "prompts_done": prompts,
        "shards": len(shards),
        "shards_done": len(manifests),
        "shards_checkpointed": at_work,
        "generated": sum(int(m["generated"]) for m in manifests),
        "images_a_second": rate,
        "seconds_left": 0.0 if not left else left / prompt_rate if prompt_rate else None,
        "findings": sum(int(m.get("findings", 0)) for m in manifests),
        "failed": sum(int(m.get("failed", 0)) for m in manifests),
        "shards_given_up": sum(bool(m.get("given_up")) for m in manifests),
        "silent_seconds": None if last is None else max(0.0, (now or time.time()) - last),
    }


def _rates(manifests: Sequence[ManifestRecord]) -> tuple[float | None, float | None]:
    """Images and prompts a second over the recent shards."""
    recent = sorted(manifests, key=lambda m: float(m["finished"]))[-RECENT:]
    busy, until = 0.0, 0.0
    for start, end in sorted((float(m["started"]), float(m["finished"])) for m in recent):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    if busy <= 0:
        return None, None
    return sum(int(m["generated"]) for m in recent) / busy, sum(int(m["prompts"]) for m in recent) / busy


def status_lines(told: Mapping[str, Any]) -> list[str]:
    """The same for people.

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
            f"{told['failed']} prompts failed, {told['shards_given_up']} shards were put aside (see quarantine/)"
        )
    return lines


def duration(seconds: float) -> str:
    """Seconds in words.

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
