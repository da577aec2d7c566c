"""A diffusers pipeline's first denoising step: two denoiser calls an image, instead of all of its steps.

``memcore/sampling/screen.py`` says which scores are taken from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memcore.errors import SamplerError
from memcore.sampling.screen import SCORES, FirstStep, FirstStepSampler, FirstStepTensors, measure

# SCORES, FirstStep and FirstStepSampler are of memcore.sampling.screen; programs import them from here as well.
__all__ = ["SCORES", "FirstStep", "FirstStepSampler", "watch_first_step"]


class _FirstStepDone(Exception):
    """Raised to leave the pipeline's loop after its first step."""


@dataclasses.dataclass
class _Seen:
    answers: list[Any] = dataclasses.field(default_factory=list)
    before: Any = None
    after: Any = None


def watch_first_step(pipe: Any, arguments: Mapping[str, Any], images: int) -> FirstStep:
    """Call the pipeline, watch its denoiser and its scheduler, and leave after one step.

    For pipelines with one denoiser (``unet`` or ``transformer``) that calls it with and without the prompt: in one batch
    of two halves, or twice. Raises SamplerError for any other.
    """
    name = type(pipe).__name__
    with _watched(pipe) as seen, contextlib.suppress(_FirstStepDone):
        pipe(**arguments)
    if hasattr(pipe, "maybe_free_model_hooks"):
        pipe.maybe_free_model_hooks()
    if seen.after is None:
        raise SamplerError(f"{name} cannot be screened: it made no step of its scheduler")
    first, second = _halves(seen.answers, images, name)
    channels = min(int(first.shape[1]), int(seen.before.shape[1])) if first.ndim == 4 else None
    if channels is not None:  # further channels are the learned variance
        first, second = first[:, :channels], second[:, :channels]
    return measure(FirstStepTensors((first, second), seen.before, seen.after))


def _halves(answers: Sequence[Any], images: int, name: str) -> tuple[Any, Any]:
    if len(answers) == 1 and len(answers[0]) == 2 * images:
        return answers[0][:images], answers[0][images:]
    if len(answers) == 2 and all(len(answer) == images for answer in answers):
        return answers[0], answers[1]
    calls = f"{len(answers)} call{'s' * (len(answers) != 1)} with {[len(a) for a in answers]} latents"
    raise SamplerError(
        f"{name} cannot be screened: a screen compares the denoiser with and without the prompt, but for {images} images "
        f"there {'was' if len(answers) == 1 else 'were'} {calls}; the pipeline has no classifier-free guidance "
        "(distilled models such as Flux have none), or the guidance scale turns it off"
    )


@contextlib.contextmanager
def _watched(pipe: Any) -> Iterator[_Seen]:
    """Record the denoiser's answers and the latents around the scheduler's first step; remove the hooks afterwards."""
    name = type(pipe).__name__
    denoisers = [d for d in (getattr(pipe, n, None) for n in ("unet", "transformer")) if d is not None]
    scheduler: Any = getattr(pipe, "scheduler", None)
    if len(denoisers) != 1 or not hasattr(scheduler, "step"):
        raise SamplerError(f"{name} cannot be screened: it has no single denoiser and scheduler")
    seen = _Seen()
    step = scheduler.step

    def answered(module: Any, inputs: Any, output: Any) -> None:
        seen.answers.append(output[0] if isinstance(output, tuple) else output.sample)

    @functools.wraps(step)  # pipelines read its signature to know whether it takes generators
    def stepped(model_output: Any, timestep: Any, sample: Any, *rest: Any, **options: Any) -> Any:
        answer = step(model_output, timestep, sample, *rest, **options)
        seen.before = sample
        seen.after = answer[0] if isinstance(answer, tuple) else answer.prev_sample
        raise _FirstStepDone

    hook = denoisers[0].register_forward_hook(answered)
    scheduler.step = stepped
    try:
        yield seen
    finally:
        hook.remove()
        del scheduler.step
