"""Any Python callable as a sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.errors import ArgumentTypeError, ArgumentValueError, SamplerError
from memcore.images.constant import flag_constant
from memcore.sampling.protocol import check_images, sampler_conditions
from memcore.sampling.seeds import MOST_SEED_BITS
from memcore.sampling.transient import as_transient
from memcore.system.plain_text import error_text
from memcore.types import Images, Request


class CallableSampler:
    """A sampler from ``function(prompts, seeds)``, which returns the images of one batch.

    Parameters
    ----------
    function
        Takes a list of N prompts and a list of N seeds; returns uint8 (N, H, W, C), NumPy or torch, or a list of N
        arrays (H, W, C) or PIL images, with None where an image could not be made. Each image must depend on nothing but
        its prompt and its seed.
    image_shape
        (H, W, C).
    fingerprint
        Names all that changes images: a run that was started with one fingerprint is not resumed with another.
    conditions
        What ``function`` makes images from besides, of "label", "image" and "mask". It then takes a third argument, a list
        of N ``Condition``.
    seed_bits
        Bits of the seeds that the function takes, where these are not 53: 32 for many hosted APIs, 63 at most.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        From the constructor, for impossible arguments.
    SamplerError
        From ``sample``, if the function raises or returns something else. Constant images are flagged.

    >>> import numpy as np
    >>> from memcore.sampling import CallableSampler, Request
    >>> def noise(prompts, seeds):
    ...     return np.stack([np.random.default_rng(s).integers(0, 256, (8, 8, 3), dtype=np.uint8) for s in seeds])
    >>> CallableSampler(noise, (8, 8, 3), "noise-1").sample([Request(0, "a dog", 7)]).pixels.shape
    (1, 8, 8, 3)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        image_shape: tuple[int, int, int],
        fingerprint: str,
        *,
        conditions: Sequence[str] = (),
        seed_bits: int | None = None,
    ) -> None:
        if not callable(function):
            raise ArgumentTypeError(f"function must be callable, got {type(function).__name__}")
        if not isinstance(image_shape, tuple | list) or len(image_shape) != 3:
            raise ArgumentValueError(f"image_shape must be (height, width, channels), got {image_shape!r}")
        if not isinstance(fingerprint, str) or not fingerprint:
            raise ArgumentValueError(f"fingerprint must be a text that is not empty, got {fingerprint!r}")
        h, w, c = (arrays.check_count(v, "image_shape") for v in image_shape)
        self.image_shape = (h, w, c)
        self.fingerprint = fingerprint
        self._function = function
        self.conditions = tuple(conditions)
        sampler_conditions(self)
        if seed_bits is not None:
            self.seed_bits = arrays.check_count(seed_bits, "seed_bits", 1, MOST_SEED_BITS)

    def __repr__(self) -> str:
        """Return one line."""
        name = getattr(self._function, "__qualname__", type(self._function).__name__)
        bits = f", seed_bits={self.seed_bits}" if hasattr(self, "seed_bits") else ""
        return f"CallableSampler({name}, {self.image_shape}, {self.fingerprint!r}{bits})"

    def describe(self) -> dict[str, str]:
        """Return what the run's run.toml says of the sampler."""
        return {"kind": "callable", "fingerprint": self.fingerprint}

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, H, W, C) uint8, in the order of the requests."""
        try:
            given = [[r.condition for r in requests]] if self.conditions else []
            answer = self._function([r.prompt for r in requests], [r.seed for r in requests], *given)
        except (Exception, SystemExit, GeneratorExit) as error:  # a script's sys.exit() must not end the run
            if (transient := as_transient(error)) is not None:
                raise transient from error
            raise SamplerError(f"the sampler's function raised {error_text(error)}") from error
        broken = None
        if isinstance(answer, list | tuple):
            answer, broken = _replace_broken(answer, self.image_shape)
            answer = _stack(answer)
        unflagged = Images(answer, np.zeros(len(requests), dtype=np.bool_))
        check_images(unflagged, requests, self.image_shape)
        flagged = flag_constant(answer)
        return Images(answer, flagged, broken) if broken is None else Images(answer, flagged | broken, broken)


def _replace_broken(
    images: Sequence[Any], shape: tuple[int, int, int]
) -> tuple[Sequence[Any], NDArray[np.bool_] | None]:
    """Put a black image where there is None or a picture that cannot be decoded; say where, or None for nowhere."""
    read = [image if arrays.is_torch(image) else _read(image) for image in images]
    broken = np.array([image is None for image in read], dtype=np.bool_)
    if not broken.any():
        return read, None
    like: Any = next((image for image in read if image is not None), None)
    black = np.zeros(shape, dtype=np.uint8)
    filler = like.new_zeros(shape) if arrays.is_torch(like) else black
    return [filler if image is None else image for image in read], broken


def _read(image: Any) -> Any:
    """Return a picture as an array, and None for one that is cut or damaged."""
    if image is None or isinstance(image, np.ma.MaskedArray):  # a mask is refused with all others, in _stack
        return image
    if callable(load := getattr(image, "load", None)):
        try:
            load()
        except Exception:  # PIL decodes late, and raises what its decoders raise, SyntaxError among them
            return None
    try:
        return np.asarray(image)
    except OSError:
        return None


def _stack(images: Sequence[Any]) -> Any:
    """Return a list of images as one array, or as one tensor on their device if they are tensors."""
    try:
        if images and all(arrays.is_torch(image) for image in images):
            import torch

            return torch.stack(list(images))
        if any(isinstance(image, np.ma.MaskedArray) for image in images):
            raise SamplerError("the sampler's images must not be masked, since the masks would be ignored")
        return np.stack([np.asarray(image) for image in images]) if images else np.empty(0, dtype=np.uint8)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SamplerError(f"the sampler's list of images cannot be stacked: {error}") from error
