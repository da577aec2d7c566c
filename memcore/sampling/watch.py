"""What a worker notices about its sampler while it samples: seeds that decide nothing, images that come out otherwise.

Each breaks what an audit rests on, and none raises by itself. The checks take a checksum of each image, and one more image
at the start of a run and after every ``CHECK_EVERY`` images.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.errors import ConfigError, SamplerError, TransientError
from memcore.sampling.batches import RequestBatch, SeedRun
from memcore.sampling.protocol import Sampler, asks_once
from memcore.sampling.transient import patiently
from memcore.system.units import count
from memcore.types import Images

#: The reason of notes of a sampler about images that a content filter refused.
REFUSED_IMAGE = "refused-image"
#: Images of a worker between two requests that are sampled twice.
CHECK_EVERY = 5_000
#: Prompts, all of whose images are one image, that end a run of which no prompt has two different ones.
STUCK = 3

_log = logging.getLogger("memcore")


class Note(NamedTuple):
    """An entry for a run's quarantine: a prompt, a reason code and what was noticed."""

    prompt_id: int
    prompt: str
    reason: str
    detail: str


@dataclasses.dataclass
class _Prompt:
    """Counts of a prompt's images: all, those that hold no picture, and those compared; checksums of the latter."""

    text: str
    images: int = 0
    broken: int = 0
    compared: int = 0
    checksums: set[int] = dataclasses.field(default_factory=set)
    #: What the sampler met: how often, by reason, and what was said the first time.
    met: Counter[str] = dataclasses.field(default_factory=Counter)
    said: dict[str, str] = dataclasses.field(default_factory=dict)


class SamplerWatch:
    """The notes of one worker, for as long as it lives. The first of each reason is logged, except those of ``untold``."""

    def __init__(self, untold: Iterable[str] = ()) -> None:
        #: What the sampler has answered, its first seed to tell later whether it still can.
        self.answered: SeedRun | None = None
        self._prompts: dict[int, _Prompt] = {}
        self._stuck = 0
        self._varied = False
        self._since_check = 0
        self._said = set(untold)

    def asks_again(self, sampler: Sampler, count: int, *, first: bool) -> bool:
        """Tell whether ``look`` will ask the sampler for an image of the next batch, of ``count``, a second time."""
        return not asks_once(sampler) and (first or self._since_check + count >= CHECK_EVERY)

    def look(self, sampler: Sampler, batch: RequestBatch, images: Images, *, first: bool) -> Iterator[Note]:
        """Count a batch's images; yield what its new prompts and its first image show. ``first``: of the whole run."""
        sums = checksums(images.pixels)
        broken = images.broken
        plain = broken is None and not np.count_nonzero(images.flagged)  # as nearly all batches are
        start = 0
        for run in batch.runs:
            part = slice(start, start + len(run.seeds))
            start = part.stop
            if run.prompt_id not in self._prompts:
                self._prompts[run.prompt_id] = _Prompt(run.prompt)
                yield from self._length(sampler, run)
            prompt = self._prompts[run.prompt_id]
            prompt.images += len(run.seeds)
            if plain:
                prompt.compared += len(run.seeds)
                prompt.checksums.update(sums[part].tolist())
                continue
            used = ~images.flagged[part]
            prompt.broken += int(broken[part].sum()) if broken is not None else 0
            prompt.compared += int(used.sum())
            prompt.checksums.update(sums[part][used].tolist())
        for note in images.notes:
            if (met := self._prompts.get(note.prompt_id)) is not None:
                met.met[note.reason] += 1
                met.said.setdefault(note.reason, note.detail)
        again = self.asks_again(sampler, len(sums), first=first)
        self._since_check += len(sums)
        if again:
            self._since_check = 0
            yield from self._again(sampler, batch, images)

    def drop(self, prompt_id: int) -> None:
        """Forget a prompt that failed."""
        self._prompts.pop(prompt_id, None)

    def end(self, prompt_id: int) -> tuple[list[Note], bool]:
        """Return what a prompt's images showed, and whether not one of them holds a picture.

        Raises ConfigError once the first prompts show that the seed decides nothing.
        """
        prompt = self._prompts.pop(prompt_id)
        notes = [
            self._note(prompt_id, prompt.text, reason, f"{number:,} x {prompt.said[reason]}")
            for reason, number in sorted(prompt.met.items())
        ]
        if prompt.broken == prompt.images:
            if prompt.met[REFUSED_IMAGE] >= prompt.images:
                text = f"not one of {count(prompt.images, 'image')} was made: {prompt.said[REFUSED_IMAGE]}"
                return [*notes, Note(prompt_id, prompt.text, "refused", text)], True
            text = f"not one of {count(prompt.images, 'image')} holds a picture: the sampler gave NaN, or nothing"
            return [*notes, Note(prompt_id, prompt.text, "sampler", text)], True
        if prompt.broken:
            text = f"{prompt.broken:,} of {count(prompt.images, 'image')} left out: NaN, or no picture"
            notes.append(self._note(prompt_id, prompt.text, "broken-image", text))
        repeated = prompt.compared - len(prompt.checksums)
        if repeated:
            text = (
                f"{prompt.compared} images of different seeds are {count(len(prompt.checksums), 'image')}, byte for byte: "
                "the sampler ignores the seed, cuts it short, or answers from a cache. Pass the whole seed on and turn "
                "caches off"
            )
            notes.append(self._note(prompt_id, prompt.text, "same-image", text))
        self._decide(prompt)
        return notes, False

    def _decide(self, prompt: _Prompt) -> None:
        if len(prompt.checksums) > 1:
            self._varied = True
        elif prompt.compared > 1:
            self._stuck += 1
        if self._stuck >= STUCK and not self._varied:
            raise ConfigError(
                f"the sampler gave one image for all seeds, for each of {self._stuck} prompts: every prompt would be a "
                "finding. It ignores the seed or answers from a cache: pass the seed on, turn caches off, and start "
                "in another folder"
            )

    def _length(self, sampler: Sampler, run: SeedRun) -> Iterator[Note]:
        check = getattr(sampler, "check_prompt", None)
        if check is not None and (text := check(run.prompt)):
            yield self._note(run.prompt_id, run.prompt, "long-prompt", str(text))

    def _again(self, sampler: Sampler, batch: RequestBatch, images: Images) -> Iterator[Note]:
        """Sample the batch's first request a second time, and compare."""
        run = batch.runs[0]
        once = RequestBatch([run._replace(seeds=run.seeds[:1])])
        try:
            second = patiently(lambda: sampler.sample(once))
        except TransientError:
            raise
        except Exception as error:
            if not isinstance(error, SamplerError):
                _log.debug("the second sampling of a request failed", exc_info=True)
            return
        before, after = (np.asarray(_on_host(i.pixels[0])).astype(np.int16) for i in (images, second))
        levels = int(np.abs(before - after).max()) if before.shape == after.shape else 255
        if levels:
            text = (
                f"seed {int(run.seeds[0])} gave two different images, up to {levels} levels of 255 apart, alone and in a "
                f"batch of {len(batch)}: an image must depend on its prompt and its seed alone. A finding cannot be made "
                "again; give each image a random generator of its own"
            )
            yield self._note(run.prompt_id, run.prompt, "unrepeatable", text)

    def _note(self, prompt_id: int, prompt: str, reason: str, text: str) -> Note:
        if reason not in self._said:
            self._said.add(reason)
            _log.warning("memcore: prompt %d: %s (told once; the run's quarantine has all)", prompt_id, text)
        return Note(prompt_id, prompt, reason, text)


def copy_images(images: Images) -> Images:
    """Return a sampler's answer with memory of its own."""
    pixels = images.pixels.clone() if arrays.is_torch(images.pixels) else np.array(images.pixels)
    return Images(pixels, images.flagged, images.broken, images.notes)


def checksums(pixels: Any) -> NDArray[np.int64]:
    """Return (N,) int64 of (N, H, W, C) uint8, computed where the images are: different for different images.

    A sum of the image's words by fixed random odd weights, modulo 2^64: two images that differ share it with a chance of
    about 2^-60.
    """
    count = int(pixels.shape[0])
    size = math.prod(map(int, pixels.shape[1:]))
    if arrays.is_torch(pixels) and pixels.device.type == "cpu":
        pixels = pixels.detach().numpy()  # ten times as fast: torch would store the products
    if arrays.is_torch(pixels):
        import torch

        flat = pixels.reshape(count, -1)
        if size % 8:
            flat = torch.nn.functional.pad(flat, (0, 8 - size % 8))
        words = flat.contiguous().view(torch.int64)
        weights = torch.from_numpy(_weights(words.shape[1])).to(pixels.device)
        return np.asarray((words * weights).sum(1).cpu())
    flat = np.ascontiguousarray(pixels).reshape(count, size)
    if size % 8:
        flat = np.pad(flat, ((0, 0), (0, 8 - size % 8)))
    return np.asarray(flat.view(np.int64) @ _weights(flat.shape[1] // 8))


@functools.lru_cache(maxsize=4)
def _weights(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(20_230_130).integers(-(2**63), 2**63 - 1, count, dtype=np.int64) | 1


def _on_host(image: Any) -> Any:
    return image.cpu() if hasattr(image, "cpu") else image
