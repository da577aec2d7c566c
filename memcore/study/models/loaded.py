"""Generators that others trained: a TorchScript file, or an object of a Python module, that maps seeds to images.

Both run what they hold, as a model of diffusers does: the name comes from the protocol that the user runs, never from a
study's folder.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.sampling.named import errors_named, find_named
from memcore.study.models.denoiser import Labels
from memcore.study.models.generator import BATCH, refuse_labels


class LoadedGenerator:
    """A function of seeds as a ``Generator``. ``parameters`` is 0 and ``digest`` empty where they are not known."""

    def __init__(
        self,
        name: str,
        make: Callable[[NDArray[np.int64]], Any],
        shape: tuple[int, int, int],
        parameters: int = 0,
        digest: str = "",
    ) -> None:
        self.name = name
        self.shape = shape
        self.parameters = parameters
        self.digest = digest
        self._make = make

    def __repr__(self) -> str:
        """Return one line, by the name that a protocol gives it."""
        return f"LoadedGenerator({self.name!r}, shape={self.shape})"

    def sample(self, seeds: Sequence[int], steps: int, labels: Labels = None) -> NDArray[np.uint8]:
        """Return one image for each seed, as ``Generator`` says; it is asked for 64 at a time, the last seed repeated.

        Raises ConfigError if what it gives are no images of the data's shape, SamplerError for what its code raises.
        """
        refuse_labels(labels)
        made = np.empty((len(seeds), *self.shape), np.uint8)
        for start in range(0, len(seeds), BATCH):
            own = np.array(seeds[start : start + BATCH], np.int64)
            asked = np.concatenate([own, np.repeat(own[-1:], BATCH - len(own))])
            with errors_named(f"generator={self.name} cannot make images"), torch.no_grad():
                found = self._make(asked)
            images = found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
            if images.dtype != np.uint8 or images.shape != (BATCH, *self.shape):
                raise ConfigError(
                    f"generator={self.name} must return uint8 images {(BATCH, *self.shape)} for {BATCH} seeds, got "
                    f"{images.dtype} {images.shape}; convert them in the function that the protocol names"
                )
            made[start : start + len(own)] = images[: len(own)]
        return made


def load_generator(name: str, shape: tuple[int, int, int], device: str = "cpu") -> LoadedGenerator:
    """Return the generator that a protocol names.

    Parameters
    ----------
    name
        The path of a TorchScript file whose module takes (n,) int64 seeds, or ``module:attribute``: a function of an (n,)
        int64 array of seeds. Either returns uint8 images, (n, height, width, channels), the i-th of seed i alone.
    shape
        Height, width and channels of the images that it is compared with.
    device
        Where a TorchScript module runs.

    Raises
    ------
    ConfigError
        There is no such file or attribute, or it is no function.
    SamplerError
        Its module raises an error when it is imported.

    Examples
    --------
    >>> load_generator("biggan.ts", (32, 32, 3))  # doctest: +SKIP
    >>> load_generator("my_stylegan:generate", (32, 32, 3))  # doctest: +SKIP
    """
    path = Path(name)
    if path.is_file():
        return _load_script(name, path, shape, device)
    if ":" not in name:
        raise ConfigError(
            f"generator={name} does not exist (here: {Path.cwd()}): give a TorchScript file, or module:attribute"
        )
    found = find_named(name, "generator")
    if isinstance(found, type) or not callable(found):
        raise ConfigError(f"generator={name} must be a function of seeds, got {type(found).__name__}")
    return LoadedGenerator(name, found, shape)


def _load_script(name: str, path: Path, shape: tuple[int, int, int], device: str) -> LoadedGenerator:
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # files that exist are TorchScript, whatever PyTorch would have new ones be
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        cause = str(error).strip().partition("\n")[0]
        raise ConfigError(f"generator={name} is no TorchScript file: {cause}") from None

    def make(seeds: NDArray[np.int64]) -> Any:
        return module(torch.from_numpy(seeds).to(device))

    count = sum(parameter.numel() for parameter in module.parameters())
    return LoadedGenerator(name, make, shape, count, hashlib.sha256(data).hexdigest())
