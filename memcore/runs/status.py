"""How far a run is, read from its folder alone, on any machine that sees it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.engine import status as engine
from memcore.engine.launchers.slurm import script_path
from memcore.engine.presence import Present, read_presence
from memcore.runs import layout
from memcore.runs.completeness import judge, not_decided_lines
from memcore.runs.failures import failure_line, first_failure
from memcore.runs.folder import RunFolder
from memcore.runs.freshness import stale_lines
from memcore.runs.in_flight import InFlight, count_in_flight, describe_present, in_flight_lines, present_line
from memcore.runs.received import read_spent, spent_lines
from memcore.storage.open import open_storage
from memcore.system.units import count
from memcore.system.units import duration as duration


def is_waiting(run: str | Path) -> bool:
    """Tell whether the run was submitted to SLURM and no task has begun: the first one makes the run's folder.

    For a run in an object store this is known only in the directory that it was submitted from, which has its script.
    """
    return script_path(run).is_file() and not open_storage(run).exists(layout.RUN)


def status(folder: RunFolder, now: float | None = None) -> dict[str, Any]:
    """Return the prompts, shards and images done, images a second, seconds left, who is at work, and what failed.

    ``rate`` counts the time in which a worker was busy with one of the last 64 shards, so that pauses between commands do
    not count. ``seconds_left`` is None while no shard is done, or where nobody is at work. ``silent_seconds`` is the time
    since the last shard was finished, by this machine's clock. ``in_flight`` says what unfinished shards hold, and
    ``at_work`` who works on them (``memcore.runs.in_flight``). ``not_decided`` says of a run whose shards are all done what
    its verdict does not rest on (``memcore.runs.completeness``), and ``stale`` which derived files do not fit the run as it
    is now (``memcore.runs.freshness``). ``spent`` is what a hosted model gave and cost, None for any other.
    """
    now = time.time() if now is None else now
    manifests = folder.manifests()
    prompts = sum(len(shard.prompt_ids) for shard in folder.done())
    left = len(folder.prompts) - prompts
    counted = engine.status(folder.storage, len(folder.shards()), manifests, now)
    present = read_presence(folder.storage, now)
    alive = [p for p in present if p.alive]
    working = bool(alive) if present else None
    spent = read_spent(folder)
    return {
        "run": folder.place,
        "complete": left == 0,
        "prompts": len(folder.prompts),
        "prompts_done": prompts,
        "shards": counted.tasks,
        "shards_done": counted.done,
        "shards_checkpointed": counted.checkpointed,
        "generated": sum(int(m["generated"]) for m in manifests),
        "in_flight": count_in_flight(folder, alive) if left else InFlight().as_dict(),
        "images_a_second": counted.rate("generated") or _rate(alive),
        "seconds_left": counted.seconds_left(left, "prompts") if working is not False or not left else None,
        "working": working,
        "at_work": [describe_present(p, now) for p in (alive or present[:1])],
        "findings": sum(int(m.get("findings", 0)) for m in manifests),
        "failed": sum(int(m.get("failed", 0)) for m in manifests),
        "first_failure": first_failure(folder) if any(m.get("failed") for m in manifests) else None,
        "spent": None if spent is None else spent.as_dict(),
        "shards_given_up": counted.given_up,
        "silent_seconds": counted.silent_seconds,
        "not_decided": [] if left else judge(folder.storage, folder.meta).as_list(),
        "stale": [entry.as_dict() for entry in folder.stale()],
    }


def _rate(alive: Sequence[Present]) -> float | None:
    """Return the images a second that those at work made so far, while no shard is done."""
    rates = [p.done / (p.moved - p.started) for p in alive if p.done and p.moved > p.started]
    return sum(rates) if rates else None


def status_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the status as lines for people.

    >>> result = {"run": "r", "complete": True, "prompts": 2, "prompts_done": 2, "shards": 1, "shards_done": 1}
    >>> result |= {"generated": 8, "images_a_second": 4.0, "seconds_left": 0.0, "findings": 1, "failed": 0}
    >>> status_lines(result | {"shards_given_up": 0, "shards_checkpointed": 0, "silent_seconds": 3.0})[0]
    'r: done, 2 of 2 prompts (100.0 %), 1 of 1 shard, 8 images, 1 prompt with a finding'
    """
    share = 100 * result["prompts_done"] / result["prompts"]
    in_flight = result.get("in_flight") or {}
    images = result["generated"] + in_flight.get("images", 0)
    lines = [
        f"{result['run']}: {'done' if result['complete'] else 'unfinished'}, "
        f"{result['prompts_done']:,} of {count(result['prompts'], 'prompt')} ({share:.1f} %), "
        f"{result['shards_done']:,} of {count(result['shards'], 'shard')}, {count(images, 'image')}, "
        f"{count(result['findings'], 'prompt')} with a finding"
    ]
    if not result["complete"]:
        lines += _unfinished_lines(result, in_flight)
    lines += spent_lines(result.get("spent"))
    not_decided = not_decided_lines(result.get("not_decided", []))
    if result["failed"] and not not_decided:
        lines.append(
            f"{count(result['failed'], 'prompt')} failed, {count(result['shards_given_up'], 'shard')} given up "
            f"(memcore show {shlex.quote(str(result['run']))} failures)"
        )
    lines += not_decided
    if result.get("first_failure"):
        lines.append(failure_line(result["first_failure"]))
    return [*lines, *stale_lines(result.get("stale", []))]


def _unfinished_lines(result: Mapping[str, Any], in_flight: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is said of a run that is not finished: who is at work, how fast, and what a kill would cost."""
    for who in result.get("at_work", []):
        yield present_line(who)
    rate, left = result["images_a_second"], result["seconds_left"]
    if rate is not None and left is not None:
        yield f"{rate:.1f} images a second, {duration(left)} left at that rate"
    elif rate is not None and result.get("working"):
        yield f"{rate:.1f} images a second"
    if result["silent_seconds"] is not None:
        yield (
            f"the last shard was finished {duration(result['silent_seconds'])} ago; "
            f"checkpoints of {count(result['shards_checkpointed'], 'unfinished shard')}"
        )
    yield from in_flight_lines(in_flight)
