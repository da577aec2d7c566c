"""Keep the images of a shard's prompts in flight, so that a kill inside a long prompt does not cost its sampling.

Images are taken from the graphs, which hold them anyway, and appended to the shard's journal as raw pixels: a PNG takes
ten times as long, for two thirds of the bytes. A resumed shard takes images from there by prompt and seed, and samples the
others.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.audit.in_flight import OK, PromptInFlight
from memcore.engine.journal import Journal, Record
from memcore.errors import StoreError
from memcore.runs.folder import RunFolder, Shard
from memcore.runs.rows import ImagesNotKept, KeptImages
from memcore.sampling.batches import SeedRun
from memcore.storage.digests import FileDigest

#: Bytes that the images in flight of one worker may take on the disk.
BUDGET_BYTES = 4 << 30
#: Images are kept where sampling them took at least this many times as long as keeping them: others are sampled again.
WORTH = 3.0
#: What keeping is taken to cost until it was measured: seconds for each time, and bytes a second.
KEEP_SECONDS, KEEP_RATE = 0.02, 140e6
#: Bytes of a record, and of a save from which its speed is measured.
_RECORD_BYTES = 32 << 20
_MEASURED_BYTES = 8 << 20

_log = logging.getLogger("memcore")


class TakenImage(NamedTuple):
    """An image from the journal: its flag, its pixels (H, W, C) if it is compared, and the device that it was on.

    ``file`` is the digest of its file, where all generations are stored.
    """

    flag: int
    pixels: NDArray[np.uint8] | None
    device: str
    file: FileDigest | None


class ImageJournal:
    """The images of one shard's prompts in flight. ``todo`` are its prompts that are not finished."""

    def __init__(
        self,
        folder: RunFolder,
        shard: Shard,
        todo: Collection[int],
        shape: tuple[int, int, int],
        budget: int = BUDGET_BYTES,
    ) -> None:
        self._shape = tuple(int(side) for side in shape)
        self._size = int(np.prod(self._shape))
        self._budget = budget
        self._shard = shard
        self._rate = KEEP_RATE
        self._files = folder.config.keep == "all"
        self._ended = budget == 0
        self._full: int | None = None  # the segment that says what had no room
        self._prompts: dict[int, set[int]] = {}
        self._found: dict[tuple[int, int], tuple[Record, int]] = {}
        self._last: tuple[Record, bytes] | None = None
        self._journal: Journal = folder.journal(shard)
        for lost in self._journal.lost:
            _log.warning("memcore: %s/%s; those images are sampled again", folder.place, lost)
        for record in self._journal.records:
            self._index(record, set(todo))
        self._remove_unused()

    def has_images(self) -> bool:
        """Tell whether any image is left to be taken."""
        return bool(self._found)

    def take(self, run: SeedRun) -> dict[int, TakenImage]:
        """Return those images of a prompt that were kept, by their position in ``run.seeds``."""
        taken: dict[int, TakenImage] = {}
        if not self._found:
            return taken
        for position, seed in enumerate(run.seeds.tolist()):
            found = self._found.pop((run.prompt_id, seed), None)
            if found is not None and (image := self._read(*found)) is not None:
                taken[position] = image
        if not self._found:  # nothing is read any more
            self._last = None
            self._journal.close()
        return taken

    def save(self, prompts: Iterable[PromptInFlight], device: str) -> None:
        """Keep the images of these prompts that are nowhere yet. A disk that fails costs the journal, not the run."""
        if self._ended:
            return
        before, start = self._journal.size, time.monotonic()
        not_kept: dict[int, int] = {}
        try:
            for prompt in prompts:
                if self._is_worth_it(prompt) and (count := self._save_prompt(prompt, device)):
                    not_kept[prompt.prompt_id] = count
            if not_kept:
                self._tell_full(not_kept)
            self._journal.sync()
        except StoreError as error:
            self._give_up(error)
            return
        written = self._journal.size - before
        if written >= _MEASURED_BYTES:
            self._rate = written / max(1e-3, time.monotonic() - start)

    def finish(self, prompt_ids: Iterable[int]) -> None:
        """Remove what is only of these prompts: their results are in the checkpoint."""
        done = set(prompt_ids)
        for prompts in self._prompts.values():
            prompts -= done
        try:
            self._remove_unused()
        except StoreError as error:
            self._give_up(error)

    def remove(self) -> None:
        """Remove all of it: the shard is finished. What cannot be removed is tried again at the end of the run."""
        try:
            self._journal.remove(self._journal.segments)
        except StoreError:
            _log.debug("the journal could not be removed", exc_info=True)

    def _index(self, record: Record, todo: set[int]) -> None:
        head = record.head
        prompts = self._prompts.setdefault(record.segment, set())
        if "seeds" not in head or head["prompt_id"] not in todo or tuple(head["shape"]) != self._shape:
            return
        if not _is_there(str(head["device"])) or self._files != ("files" in head):
            return
        if record.length != head["flags"].count(str(OK)) * self._size or len(head["flags"]) != len(
            head["seeds"]
        ):
            return
        prompts.add(head["prompt_id"])
        for number, seed in enumerate(head["seeds"]):
            self._found[head["prompt_id"], seed] = record, number

    def _read(self, record: Record, number: int) -> TakenImage | None:
        flags = record.head["flags"]
        flag, device = int(flags[number]), str(record.head["device"])
        file = record.head["files"][number] if self._files else None
        if flag != OK:
            return TakenImage(flag, None, device, file)
        if self._last is None or self._last[0] is not record:
            data = self._journal.read(record)
            if data is None:
                _log.warning(
                    "memcore: images of prompt %d in the journal of shard %s are damaged; they are sampled again",
                    record.head["prompt_id"],
                    self._shard.id,
                )
            self._last = record, data or b""
        start = flags[:number].count(str(OK)) * self._size
        data = self._last[1][start : start + self._size]
        if len(data) != self._size:
            return None
        return TakenImage(flag, np.frombuffer(data, np.uint8).reshape(self._shape), device, file)

    def _is_worth_it(self, prompt: PromptInFlight) -> bool:
        """Tell whether sampling a prompt's images again would cost much more than keeping them."""
        if not prompt.unkept:
            return False
        cost = KEEP_SECONDS + sum(map(len, prompt.unkept)) * self._size / self._rate
        return prompt.seconds >= WORTH * cost

    def _save_prompt(self, prompt: PromptInFlight, device: str) -> int:
        """Append a prompt's images, a record of at most 32 MiB at a time, and return how many had no room."""
        step = max(1, _RECORD_BYTES // self._size)
        left = [index for some in prompt.unkept for index in some]
        while left:
            part = left[:step]
            if self._journal.size + len(part) * self._size > self._budget:
                return len(left)
            flags = [prompt.flags[i] for i in part]
            head: KeptImages = {
                "prompt_id": prompt.prompt_id,
                "seeds": [prompt.seeds[i] for i in part],
                "flags": "".join(map(str, flags)),
                "shape": list(self._shape),
                "device": device,
            }
            if self._files:
                head["files"] = [prompt.written[seed] for seed in head["seeds"]]
            pixels = [
                np.ascontiguousarray(prompt.graphs.pixels(prompt.prompt_id, i)).data
                for i, flag in zip(part, flags, strict=True)
                if flag == OK
            ]
            segment = self._journal.append(head, pixels)
            self._prompts.setdefault(segment, set()).add(prompt.prompt_id)
            left = left[step:]
            prompt.unkept = [range(i, i + 1) for i in left]
            if self._journal.unsynced >= _RECORD_BYTES:
                self._journal.sync()  # an object store has a segment in memory until then
        prompt.seconds = 0.0
        return 0

    def _tell_full(self, not_kept: dict[int, int]) -> None:
        """Replace the segment that counts what had no room, and warn once."""
        head: ImagesNotKept = {"not_kept": sum(not_kept.values()), "budget": self._budget}
        before = self._full
        self._journal.sync()
        self._full = self._journal.append(head, [])
        self._prompts[self._full] = set(not_kept)
        if before is not None:
            self._prompts.pop(before, None)
            self._journal.sync()
            self._journal.remove([before])
            return
        _log.warning(
            "memcore: the images in flight of shard %s need more than the %.1f GB that they may take on the disk; a kill "
            "costs those that are not kept, which are then sampled again",
            self._shard.id,
            self._budget / 1e9,
        )

    def _give_up(self, error: StoreError) -> None:
        _log.warning(
            "memcore: images in flight are no longer kept (%s): a kill costs the prompts that it interrupts",
            error,
        )
        self._ended = True
        self._prompts.clear()
        self._found.clear()
        self.remove()

    def _remove_unused(self) -> None:
        unused: Sequence[int] = [n for n in self._journal.segments if not self._prompts.get(n)]
        if unused:
            self._found = {k: v for k, v in self._found.items() if v[0].segment not in unused}
            self._journal.remove(unused)
            for number in unused:
                self._prompts.pop(number, None)


@functools.cache
def _is_there(device: str) -> bool:
    """Tell whether this process can put images where the sampler had them."""
    try:
        to_device(np.zeros(1, np.uint8), device)
    except (RuntimeError, AssertionError, ImportError):  # as torch says that it has no such device
        return False
    return True


def to_device(pixels: NDArray[np.uint8], device: str) -> Any:
    """Return pixels (N, H, W, C) as the sampler had them: an array, or a tensor on its device. Raises RuntimeError."""
    if not device:
        return pixels
    import torch

    place = torch.device(device)
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        place = torch.device("cuda")
    return torch.from_numpy(pixels).to(place)
