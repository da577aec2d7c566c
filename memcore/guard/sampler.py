"""A sampler with the output filter after it, so that the model is audited as its users meet it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import is_torch
from memcore.errors import ConfigError
from memcore.guard.decision import Decision, Verdict
from memcore.guard.output_filter import OutputFilter
from memcore.sampling.protocol import Sampler, check_images, check_sampler
from memcore.types import Images, Request, SampleNote

#: The reason code of a withheld image, in a run's quarantine.
GUARDED = "guarded"
#: What a sampler may have besides the protocol, and what the guarded one then has too.
_OPTIONAL = (
    "seed_bits",
    "check_prompt",
    "public_options",
    "asks_once",
    "keep_in",
    "takes_seeds",
    "first_step",
    "close",
)


class GuardedSampler:
    """``sampler`` with ``guard`` after it. Withheld images are said: none is compared, and none counts as a generation used.

    A withheld image is black and flagged, so that it is counted as excluded and gets no edge in the audit's graph: black
    frames would otherwise be a clique. A note for each one is in the run's quarantine under ``guarded``, with its count. A
    replacement that passed the filter is what a user would see, and is compared like any image; it has a note as well.
    The fingerprint is made of both, so that a run of the guarded model is not resumed without its guard. Images that the
    sampler itself flagged stay as they are.

    Raises ConfigError for a filter that withholds nothing (policy "flag"), or a sampler that is none.

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> from memcore.guard import GuardedSampler, OutputFilter
    >>> from memcore.index import build_index, open_source
    >>> from memcore.sampling import CallableSampler, Request
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> training = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    >>> np.save(folder / "train.npy", training)
    >>> _ = build_index(folder / "index", open_source(folder / "train.npy"))
    >>> model = CallableSampler(lambda prompts, seeds: training[np.array(seeds) % 9], (8, 8, 3), "memorised")
    >>> guarded = GuardedSampler(model, OutputFilter(folder / "index", delta=0.05))
    >>> guarded.sample([Request(0, "a dog", 7)])
    Images(1x8x8x3, flagged=1, broken=0)
    """

    def __init__(self, sampler: Sampler, guard: OutputFilter) -> None:
        check_sampler(sampler)
        if guard.policy == "flag":
            raise ConfigError(
                "guard must withhold images, got policy='flag', which gives all of them out: audit the sampler itself"
            )
        self._sampler, self._guard = sampler, guard
        self.image_shape = sampler.image_shape
        for name in _OPTIONAL:
            if hasattr(sampler, name):
                setattr(self, name, getattr(sampler, name))

    def __repr__(self) -> str:
        """Return one line."""
        return f"GuardedSampler({self._sampler!r}, {self._guard!r})"

    @property
    def fingerprint(self) -> str:
        """sha256 over the sampler's fingerprint and the filter's."""
        both = f"{self._sampler.fingerprint}\n{self._guard.fingerprint}"
        return hashlib.sha256(both.encode()).hexdigest()

    def describe(self) -> dict[str, str]:
        """Return what the sampler says of itself, and under ``guard.*`` what the filter does."""
        told: dict[str, str] = getattr(self._sampler, "describe", dict)()
        return {**told, **{f"guard.{name}": text for name, text in self._guard.describe().items()}}

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, H, W, C) uint8 in the order of the requests; withheld images are black, flagged and noted."""
        images = self._sampler.sample(requests)
        check_images(images, requests, self.image_shape)
        candidates = np.flatnonzero(~images.flagged)
        if not len(candidates):
            return images
        host = images.pixels.cpu().numpy() if is_torch(images.pixels) else np.asarray(images.pixels)
        decisions = self._guard.check(host[candidates])
        gone = [(int(i), d) for i, d in zip(candidates, decisions, strict=True) if d.withheld]
        if not gone:
            return images
        pixels = images.pixels.clone() if is_torch(images.pixels) else np.array(images.pixels)
        flagged, notes = images.flagged.copy(), list(images.notes)
        for i, decision in gone:
            new, passed = self._guard.replace(host[i], decision)
            pixels[i] = _like(new, pixels)
            flagged[i] = not passed
            notes.append(SampleNote(requests[i].prompt_id, GUARDED, self._said(decision, passed)))
        return Images(pixels, flagged, images.broken, notes)

    def _said(self, decision: Decision, passed: bool) -> str:
        what = (
            "an image that the output filter replaced"
            if passed
            else "an image that the output filter withheld"
        )
        if decision.verdict is Verdict.COPY:
            return f"{what}: a training image is within {self._guard.delta:g}"
        return f"{what}: {decision.verdict}, {decision.reason}"


def _like(image: NDArray[np.uint8], pixels: Any) -> Any:
    """Return an image as a tensor on the device of ``pixels``, if that is one."""
    return pixels.new_tensor(image) if is_torch(pixels) else image
