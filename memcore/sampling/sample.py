"""Ask a sampler for a batch, and find out which of its prompts fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from memcore.errors import MemcoreError, SamplerError, TransientError
from memcore.sampling.batches import RequestBatch
from memcore.sampling.protocol import Sampler, check_images
from memcore.sampling.transient import as_transient, patiently
from memcore.system.plain_text import error_text
from memcore.types import Images


def sample_batch(
    sampler: Sampler, batch: RequestBatch, timed: Callable[[str], AbstractContextManager[None]]
) -> Iterator[tuple[RequestBatch, Images | SamplerError]]:
    """Yield the batch and its images; if it fails, each prompt's part of it, with images or why there are none.

    ``timed("sample")`` measures the sampler's seconds. Raises TransientError if the sampler cannot answer for minutes.
    """
    try:
        with timed("sample"):
            images = _sample(sampler, batch)
    except TransientError:
        raise
    except SamplerError as error:
        first_error = error
    else:
        yield batch, images
        return
    if len(batch.runs) == 1:
        yield batch, first_error
        return
    for run in batch.runs:
        part = RequestBatch([run])
        try:
            with timed("sample"):
                images = _sample(sampler, part)
        except TransientError:
            raise
        except SamplerError as error:
            yield part, error
        else:
            yield part, images


def _sample(sampler: Sampler, requests: RequestBatch) -> Images:
    """Return the sampler's images, checked; SamplerError for whatever it raises."""

    def ask() -> Images:
        try:
            return sampler.sample(requests)
        except (Exception, SystemExit, GeneratorExit) as error:  # a script's sys.exit() must not end the run
            if (transient := as_transient(error)) is not None and transient is not error:
                raise transient from error
            if isinstance(error, MemcoreError):
                raise
            raise SamplerError(f"the sampler raised {error_text(error)}") from error

    images = patiently(ask)
    check_images(images, requests, sampler.image_shape)
    return images
