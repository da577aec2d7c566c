"""What a run's unfinished shards hold, and who is at work on them: for ``memcore status``."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memcore.engine.presence import Present
from memcore.runs import layout
from memcore.runs.folder import RunFolder, Shard
from memcore.storage.local import LocalStorage
from memcore.system.console import printable
from memcore.system.units import duration, format_bytes


@dataclasses.dataclass
class InFlight:
    """Images of unfinished shards.

    ``images`` were made, of finished and unfinished prompts. Of ``prompts`` unfinished ones ``kept`` images take ``bytes``
    on the disk, and ``not_kept`` had no room in the ``budget`` of their worker.
    """

    images: int = 0
    prompts: int = 0
    kept: int = 0
    bytes: int = 0
    not_kept: int = 0
    budget: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts as JSON holds them."""
        return dataclasses.asdict(self)


def count_in_flight(folder: RunFolder, alive: Sequence[Present]) -> dict[str, int]:
    """Return the counts of ``InFlight``: images by those who are at work, else by what they left.

    In an object store only checkpoints are counted: to count images in flight would be to load them.
    """
    total = InFlight()
    said = {task: units for present in alive for task, units in present.tasks.items()}
    tasks = {name.partition(".")[0] for name in folder.storage.names(layout.CHECKPOINTS)}
    done = {shard.task for shard in folder.done()}
    for shard in folder.shards():
        if shard.task in done:
            continue
        found = _count_files(folder, shard, total, tell=not alive) if shard.task in tasks else 0
        total.images += max(found, said.get(shard.task, 0))
    return total.as_dict()


def _count_files(folder: RunFolder, shard: Shard, total: InFlight, *, tell: bool) -> int:
    """Add what a shard's journal holds, and return the images of its checkpoint and journal.

    With ``tell`` a warning says what of the journal does not count; while somebody adds to it, its end may be half a record.
    """
    record = folder.read_partial(shard)
    if not isinstance(folder.storage, LocalStorage):
        return record.generated
    finished = {row["prompt_id"] for row in record.rows}
    journal = folder.journal(shard)
    for lost in journal.lost if tell else ():
        text = f"{folder.place}/{lost}; those images are not counted, and sampled again"
        warnings.warn(printable(text), RuntimeWarning, stacklevel=2)
    kept: dict[int, set[int]] = {}
    not_kept = 0
    for found in journal.records:
        head = found.head
        if "not_kept" in head:
            not_kept, total.budget = int(head["not_kept"]), int(head["budget"])  # the last one counts
        elif head["prompt_id"] not in finished:
            kept.setdefault(int(head["prompt_id"]), set()).update(head["seeds"])
    images = sum(len(seeds) for seeds in kept.values())
    total.prompts += len(kept)
    total.kept += images
    total.bytes += journal.size
    total.not_kept += not_kept
    return record.generated + images


def in_flight_lines(in_flight: Mapping[str, int]) -> Iterator[str]:
    """Yield what is said of images in flight.

    >>> list(in_flight_lines({"images": 700, "prompts": 1, "kept": 480, "bytes": 377_000_000, "not_kept": 0}))
    ['480 images of unfinished prompts are kept (377.0 MB, in 1 prompt): they are not sampled again']
    """
    if kept := in_flight.get("kept", 0):
        prompts = in_flight["prompts"]
        yield (
            f"{kept} images of unfinished prompts are kept ({format_bytes(in_flight['bytes'])}, in {prompts} "
            f"prompt{'' if prompts == 1 else 's'}): they are not sampled again"
        )
    if missing := in_flight.get("not_kept", 0):
        yield (
            f"{missing} images of unfinished prompts had no room in the {format_bytes(in_flight['budget'])} of their worker "
            "(--journal-bytes): after a kill they are sampled again"
        )


def describe_present(present: Present, now: float) -> dict[str, Any]:
    """Return who is or was at work on a run, as ``--json`` prints it."""
    return {
        "host": present.host,
        "process": present.process,
        "alive": present.alive,
        "started_seconds": round(max(0.0, now - present.started), 1),
        "written_seconds": round(max(0.0, now - present.written), 1),
        "image_seconds": round(max(0.0, now - present.moved), 1) if present.done else None,
        "images": present.done,
    }


def present_line(who: Mapping[str, Any]) -> str:
    """Return who is or was at work on a run as a line.

    >>> who = {"host": "a", "process": 7, "alive": True, "started_seconds": 300.0, "written_seconds": 2.0}
    >>> present_line(who | {"image_seconds": 4.0, "images": 12})
    'at work: process 7 on a, for 5 min; its last image was made 4 s ago'
    >>> present_line(who | {"alive": False, "image_seconds": None, "images": 0})
    'nobody is at work on it: process 7 on a wrote last, 2 s ago. The same command resumes it'
    """
    process = f"process {who['process']} on {who['host']}"
    if not who["alive"]:
        ago = duration(who["written_seconds"])
        return f"nobody is at work on it: {process} wrote last, {ago} ago. The same command resumes it"
    made = (
        "no image was made yet"
        if who["image_seconds"] is None
        else (f"its last image was made {duration(who['image_seconds'])} ago")
    )
    return f"at work: {process}, for {duration(who['started_seconds'])}; {made}"
