"""The protocol of every source of generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from memcore import arrays, interop
from memcore.conditions import CONDITIONS
from memcore.errors import ConfigError, MemcoreError, SamplerError
from memcore.types import Images, Request


@runtime_checkable
class Sampler(Protocol):
    """What turns prompts and seeds into images: one a request, which depends on nothing but the request.

    ``fingerprint`` names all that changes images: weights, scheduler, steps, guidance, dtype, batch size, versions and the
    kind of device. ``image_shape`` is (H, W, C). ``sample`` keeps the order of the requests.

    A sampler may also have ``seed_bits``, an integer up to 63: seeds are below 2^seed_bits, for example 32 for many hosted
    APIs. Without it they are below 2^53. ``describe()`` says for people what the fingerprint is made from.
    ``public_options`` names the options of its maker whose values are recorded in a run, as those that choose a model
    should be; values of others are never written. ``check_prompt(prompt)`` returns what of a prompt is lost, for example
    a text that is cut, or "" if nothing is.

    ``conditions`` names what images are made from besides a prompt, of "label", "image" and "mask": the requests then have
    it in ``Request.condition``. Prompts with others are refused. ``needed_conditions`` are those without which no image
    can be made, and ``masks_hide = True`` says that what a mask covers is not shown to the model.

    A sampler with ``asks_once = True`` is asked for no image a second time, since images may cost money or be different
    each time: its ``keep_in(received)`` gets a ``memcore.sampling.received.Received``, where it writes what it receives
    before it uses it, and finds what was received before. It raises StoppedError where every request would fail: what it
    refuses otherwise is taken to be the prompt's fault. ``takes_seeds = False`` says that an image cannot be made again.
    """

    fingerprint: str
    image_shape: tuple[int, int, int]

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, H, W, C) uint8 for N requests, which may be of different prompts."""
        ...


def asks_once(sampler: object) -> bool:
    """Tell whether a sampler is asked for no image a second time, since it may cost money or be another one."""
    return getattr(sampler, "asks_once", False) is True


def sampler_conditions(sampler: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a sampler's images are made from besides prompts, and what of it they cannot be made without.

    Raises ConfigError for names that are none of label, image and mask.
    """
    found = []
    for name in ("conditions", "needed_conditions"):
        kinds = getattr(sampler, name, ())
        if isinstance(kinds, str) or not all(kind in CONDITIONS for kind in kinds):
            raise ConfigError(f"the sampler's {name} must be of {', '.join(CONDITIONS)}, got {kinds!r}")
        found.append(tuple(kinds))
    return found[0], found[1]


def check_sampler(sampler: Any) -> None:
    """Raise ConfigError unless a sampler says the shape of its images, and what tells it from others.

    >>> class Bad:
    ...     image_shape, fingerprint = (64, 64), "bad-1"
    >>> check_sampler(Bad())
    Traceback (most recent call last):
    memcore.errors.ConfigError: the sampler's image_shape must be (height, width, channels), got (64, 64)
    """
    shape = getattr(sampler, "image_shape", None)
    sides = tuple(shape) if isinstance(shape, tuple | list) else ()
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides)
    if len(sides) != 3 or not whole or min(sides) < 1:
        raise ConfigError(f"the sampler's image_shape must be (height, width, channels), got {shape!r}")
    fingerprint = getattr(sampler, "fingerprint", None)
    if not isinstance(fingerprint, str) or not fingerprint:
        raise ConfigError(f"the sampler's fingerprint must be a text that is not empty, got {fingerprint!r}")


def _check_pixels(pixels: Any) -> None:
    """Raise SamplerError unless these are values of uint8 in memory."""
    if not isinstance(pixels, np.ndarray) and not arrays.is_torch(pixels):
        raise SamplerError(
            f"the sampler's pixels must be a NumPy array or a torch tensor, got {type(pixels).__name__}"
        )
    try:
        dtype = interop.as_array(pixels, "the sampler's pixels")[2]
    except MemcoreError as error:
        raise SamplerError(str(error)) from None
    if dtype != "uint8":
        raise SamplerError(f"the sampler's pixels must be uint8, got {dtype}; memcore.to_uint8() converts")


def check_images(images: Any, requests: Sequence[Request], image_shape: tuple[int, int, int]) -> None:
    """Raise SamplerError, naming what was wrong, unless ``images`` are what the requests asked for.

    ``images.pixels`` must be (N, H, W, C) uint8, NumPy or torch, and ``images.flagged`` (N,) bool, for N requests.

    >>> import numpy as np
    >>> from memcore.types import Images, Request
    >>> good = Images(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.bool_))
    >>> check_images(good, [Request(0, "a dog", 7)], (8, 8, 3))
    """
    if not isinstance(images, Images):
        raise SamplerError(f"the sampler must return memcore.Images, got {type(images).__name__}")
    pixels, flagged = images.pixels, images.flagged
    if not interop.is_plain_bytes(pixels):
        _check_pixels(pixels)
    expected = (len(requests), *image_shape)
    if tuple(pixels.shape) != expected:
        n, h, w, c = expected
        hint = "; permute(0, 2, 3, 1) puts channels last" if tuple(pixels.shape) == (n, c, h, w) else ""
        raise SamplerError(
            f"the sampler's pixels must have the shape {expected} (N, H, W, C), got {tuple(pixels.shape)}{hint}"
        )
    if type(flagged) is not np.ndarray or flagged.dtype != np.bool_ or flagged.shape != (len(requests),):
        raise SamplerError(f"the sampler's flagged must be bool of shape ({len(requests)},), got {flagged!r}")
    broken = images.broken
    if broken is None:
        return
    if not isinstance(broken, np.ndarray) or broken.dtype != np.bool_ or broken.shape != flagged.shape:
        raise SamplerError(
            f"the sampler's broken must be None or bool of shape ({len(requests)},), got {broken!r}"
        )
    if (broken & ~flagged).any():
        raise SamplerError("the sampler's broken images must be flagged as well: they are never compared")
