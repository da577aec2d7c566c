"""A batch of which the journal may hold some images: these are taken from there, and the others are sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.audit.in_flight import BROKEN, GIVEN, OK
from memcore.audit.journal import ImageJournal, TakenImage, to_device
from memcore.errors import SamplerError
from memcore.sampling.batches import RequestBatch
from memcore.sampling.protocol import Sampler
from memcore.sampling.sample import sample_batch
from memcore.storage.digests import FileDigest
from memcore.types import Images


class SampledPart(NamedTuple):
    """A part of a batch, its images or why there are none, and which of them (N,) came from the journal.

    ``given`` (N,) are those of the latter that are near the image that they were made from.
    ``files`` are the digests of the files of those, by prompt and seed, where all generations are stored.
    """

    batch: RequestBatch
    images: Images | SamplerError
    kept: NDArray[np.bool_]
    files: Mapping[tuple[int, int], FileDigest]
    given: NDArray[np.bool_] | None = None


def take_or_sample(
    journal: ImageJournal,
    sampler: Sampler,
    batch: RequestBatch,
    timed: Callable[[str], AbstractContextManager[None]],
) -> Iterator[SampledPart]:
    """Yield the batch as ``sample_batch`` does, with each prompt's images in order, whether they were kept or sampled."""
    taken = {run.prompt_id: journal.take(run) for run in batch.runs} if journal.has_images() else {}
    if not any(taken.values()):
        for part, images in sample_batch(sampler, batch, timed):
            yield SampledPart(part, images, np.zeros(len(part), np.bool_), {})
        return
    runs = {run.prompt_id: run for run in batch.runs}
    missing = [
        run._replace(seeds=np.delete(run.seeds, list(taken[run.prompt_id])))
        for run in batch.runs
        if len(taken[run.prompt_id]) < len(run.seeds)
    ]
    if missing:
        for part, images in sample_batch(sampler, RequestBatch(missing), timed):
            whole = RequestBatch([runs.pop(run.prompt_id) for run in part.runs])
            if isinstance(images, SamplerError):
                yield SampledPart(whole, images, np.zeros(len(whole), np.bool_), {})
            else:
                yield _join(whole, taken, images, sampler.image_shape)
    if runs:
        yield _join(RequestBatch(list(runs.values())), taken, None, sampler.image_shape)


def _join(
    batch: RequestBatch,
    taken: Mapping[int, Mapping[int, TakenImage]],
    sampled: Images | None,
    shape: tuple[int, int, int],
) -> SampledPart:
    """Put images that were kept and images that were sampled into the batch's order."""
    kept, start = np.zeros(len(batch), np.bool_), 0
    pixels = np.zeros((len(batch), *shape), np.uint8)
    flags = np.zeros(len(batch), np.uint8)
    device, files = "", {}
    for run in batch.runs:
        for position, image in taken[run.prompt_id].items():
            kept[start + position], flags[start + position] = True, image.flag
            if image.pixels is not None:
                pixels[start + position] = image.pixels
            if image.file is not None:
                files[run.prompt_id, int(run.seeds[position])] = image.file
            device = image.device
        start += len(run.seeds)
    flagged, broken, given = flags != OK, flags == BROKEN, flags == GIVEN
    if sampled is None:
        return SampledPart(batch, Images(to_device(pixels, device), flagged, broken), kept, files, given)
    flagged[~kept] = sampled.flagged
    notes = sampled.notes
    if sampled.broken is not None:
        broken[~kept] = sampled.broken
    if arrays.is_torch(sampled.pixels):
        whole = to_device(pixels, str(sampled.pixels.device))
        whole[np.nonzero(~kept)[0].tolist()] = sampled.pixels
        return SampledPart(batch, Images(whole, flagged, broken, notes), kept, files, given)
    pixels[~kept] = sampled.pixels
    return SampledPart(batch, Images(pixels, flagged, broken, notes), kept, files, given)
