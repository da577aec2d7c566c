"""The filter that stands between a model and its users."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_threads
from memcore.errors import ArgumentTypeError, ArgumentValueError, RunError
from memcore.guard.decision import Counts, Decision, Tally, Verdict
from memcore.guard.delta import ChosenDelta, choose
from memcore.guard.log import DecisionLog
from memcore.guard.nearest import NONE, nearest_of_all, nearest_within
from memcore.guard.pictures import Pictures, Read, Rule, blank, same_form
from memcore.images import UnreadableImage
from memcore.index import layout
from memcore.index.layout import IndexMeta
from memcore.index.points import Points
from memcore.index.reader import Index
from memcore.matching.metric import Criterion, Grid, MetricName, check_delta
from memcore.runs.completeness import index_gaps
from memcore.sources.coverage import count_reasons
from memcore.types import DEFAULT_THRESHOLD

#: What happens to an image that is withheld: None takes its place, a replacement does, or it is given out all the same.
Policy: TypeAlias = Literal["refuse", "replace", "flag"]
#: Makes an image that takes the place of a withheld one: from that image, and the decision on it.
Replacement: TypeAlias = Callable[[Any, Decision], Any]

#: Sketches that stay in memory: at 248 bytes an image of the default index, those of 17 million images.
_HELD_BYTES = 4 << 30
_log = logging.getLogger("memcore")


class OutputFilter:
    """A filter to put after a model: it withholds every image that has a training image within ``delta``.

    The answer is exact for the images of the index: sketches prove that nearly all training images are farther, and the
    few others are read from their source and compared in integers. What cannot be compared (another size, NaN, a training
    image that cannot be read) is withheld as well, and counted by its reason: it never passes silently. Several threads may
    use one filter.

    Parameters
    ----------
    index
        A folder that ``memcore index`` made, or an opened ``Index``. Its sources must be there, as they were indexed.
    delta
        The distance in [0, 1] up to which an image is a copy; ``OutputFilter.choose_delta`` finds one.
    policy
        "refuse": None in place of a withheld image (arrays and tensors come back as lists). "replace": a replacement in its
        place, in the form that was given. "flag": images are given out unchanged, for a trial; see ``check`` and ``log``.
    replacement
        With "replace": ``replacement(image, decision)`` returns an image of the same form (for example one of another
        seed), which is checked as well: where it is withheld too, a black image is used. Without it, a black image.
    metric, grid
        "l2" or "tiled_l2", whose tiles ``grid`` (rows, columns) cuts, as in ``memcore match``.
    log
        A file that gets a line of JSON for each call: counts and, for each withheld image, the training image. No pixels.
    allow_incomplete
        Use an index that lacks training images (quarantined ones, files that were added later): copies of those pass.
    threads
        CPU threads, by default all that the process may use. The answer does not depend on them.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        For an impossible argument; from a call, for what holds no images or floats outside [0, 1].
    RunError
        The index is unfinished, damaged or incomplete, or a source is gone or was changed; from a call also if the index
        was changed since it was opened.
    StoreError
        The log cannot be written: no image is given out then.

    References
    ----------
    Carlini et al. 2023, section 4.2, for the distance and its threshold of 0.15 at 512 x 512; the exactness is that of
    docs/numerics.md, "Sketches".

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> from memcore.guard import OutputFilter
    >>> from memcore.index import build_index, open_source
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> training = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    >>> np.save(folder / "train.npy", training)
    >>> _ = build_index(folder / "index", open_source(folder / "train.npy"))
    >>> guard = OutputFilter(folder / "index", delta=0.05)
    >>> [image is None for image in guard(np.stack([training[3], 255 - training[4]]))]
    [True, False]
    """

    def __init__(
        self,
        index: Index | str | os.PathLike[str],
        delta: float,
        *,
        policy: Policy = "refuse",
        replacement: Replacement | None = None,
        metric: MetricName = "l2",
        grid: Grid = (4, 4),
        log: str | os.PathLike[str] | None = None,
        allow_incomplete: bool = False,
        threads: int | None = None,
    ) -> None:
        check_delta(delta)
        if policy not in get_args(Policy):
            raise ArgumentValueError(f"policy must be 'refuse', 'replace' or 'flag', got {policy!r}")
        if replacement is not None and not callable(replacement):
            raise ArgumentTypeError(f"replacement must be callable, got {type(replacement).__name__}")
        if replacement is not None and policy != "replace":
            raise ArgumentValueError(f"replacement needs policy='replace', got policy={policy!r}")
        self._threads = check_threads(threads)
        self.delta, self.policy, self.metric, self.grid = float(delta), policy, metric, grid
        self._replacement = replacement
        self._index, self._state = _open(index, allow_incomplete)
        self._near = Criterion.of(metric, delta, self._index.image_shape, grid)
        self._rule = Rule(self._index.image_shape, self._index.resize, self._index.background)
        self._tally = Tally()
        self._told: set[str] = set()
        self._log = None if log is None else DecisionLog(Path(log))
        self._decide([np.zeros(self._index.image_shape, np.uint8)])  # what is read once, is read now

    def __repr__(self) -> str:
        """Return one line."""
        path = str(self._index.path)
        return f"OutputFilter({path!r}, delta={self.delta:g}, policy={self.policy!r}, metric={self.metric!r})"

    @staticmethod
    def choose_delta(
        index: Index | str | os.PathLike[str],
        held_out: Any,
        *,
        refused: float = 0.01,
        most: float = DEFAULT_THRESHOLD,
        metric: MetricName = "l2",
        grid: Grid = (4, 4),
        allow_incomplete: bool = False,
        threads: int | None = None,
    ) -> ChosenDelta:
        """Return the largest delta, up to ``most``, that provably refuses at most ``refused`` of images like ``held_out``.

        ``held_out`` are images, in any form that the filter takes, that were not trained on and are no near-duplicates of
        training images: photographs of the same kind, or images of a model that never saw the set. "Provably" means that
        the upper end of the exact 95 % interval is at most ``refused``, which needs 368 images for 1 %. Beyond the default
        ``most``, the paper's threshold, images hardly look alike.

        Raises ArgumentValueError where there are too few images, one cannot be compared, or too many are training images.
        """
        check_delta(most)
        opened, _ = _open(index, allow_incomplete)
        near = Criterion.of(metric, most, opened.image_shape, grid)
        pixels: list[NDArray[np.uint8]] = []
        for number, image in enumerate(
            Pictures(held_out).read(Rule(opened.image_shape, opened.resize, opened.background))
        ):
            if isinstance(image, UnreadableImage):
                raise ArgumentValueError(
                    f"held_out[{number}] cannot be compared with {opened.path}: {image.reason}, {image}"
                )
            pixels.append(image)
        points = _points(opened, pixels)
        ssd = nearest_of_all(opened, points, near, check_threads(threads))
        return choose(ssd, near.tile_bytes, refused, most)

    def check(self, images: Any) -> list[Decision]:
        """Return the decision on each image, in order; what is given is not changed, whatever the policy.

        ``images``: (N, H, W, C) or (H, W, C) NumPy, (N, C, H, W) or (C, H, W) torch, uint8 or floats in [0, 1]; a PIL image;
        a list of these and of None; or a pipeline's output with ``images``.
        """
        return self._check(Pictures(images.images if _is_output(images) else images))

    def __call__(self, images: Any) -> Any:
        """Return the images as the policy gives them out; a pipeline's output with the same in its ``images``.

        Such an output also gets ``decisions``, the list that ``check`` returns.
        """
        if not _is_output(images):
            return self._filter(Pictures(images))[0]
        kept, decisions = self._filter(Pictures(images.images))
        return _with_images(images, kept, decisions)

    def wrap(self, pipeline: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls ``pipeline`` and gives out its images as this filter does.

        ``pipeline`` is a diffusers pipeline, or any function that returns images in a form that ``check`` takes. Of a tuple
        (``return_dict=False``) the first item holds the images.
        """
        if not callable(pipeline):
            raise ArgumentTypeError(f"pipeline must be callable, got {type(pipeline).__name__}")

        def guarded(*args: Any, **kwargs: Any) -> Any:
            answer = pipeline(*args, **kwargs)
            if isinstance(answer, tuple) and answer and not _is_output(answer):
                return (self(answer[0]), *answer[1:])
            return self(answer)

        return guarded

    @property
    def counts(self) -> Counts:
        """What was decided so far."""
        return self._tally.read()

    @property
    def fingerprint(self) -> str:
        """sha256 over ``describe()``, in which the index counts by its digest."""
        told = {name: text for name, text in self.describe().items() if name != "index"}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, str]:
        """Return what decides the answers, as text: the index and its digest, delta, metric and policy."""
        index = self._index
        tiles = {} if self.metric == "l2" else {"grid": "x".join(map(str, self.grid))}
        return {
            "index": str(index.path),
            "index_digest": index.digest,
            "images": str(len(index)),
            "image_shape": "x".join(map(str, index.image_shape)),
            "resize": json.dumps(index.meta.resize, sort_keys=True),
            "background": json.dumps(index.meta.background),
            "delta": repr(self.delta),
            "metric": self.metric,
            **tiles,
            "policy": self.policy,
            "replacement": "" if self._replacement is None else _name_of(self._replacement),
        }

    def replace(self, image: Any, decision: Decision) -> tuple[Any, bool]:
        """Return what takes the place of a withheld image, and whether it is a replacement that passed; else it is black."""
        if self._replacement is None or image is None:
            return blank(image), False
        new = self._replacement(image, decision)
        if not same_form(new, image):
            raise ArgumentValueError(
                f"replacement must return an image of the same kind and size as it gets, {_form(image)}, got {_form(new)}"
            )
        (found,) = self.check(new)
        return (blank(image), False) if found.withheld else (new, True)

    def _filter(self, pictures: Pictures) -> tuple[Any, list[Decision]]:
        decisions = self._check(pictures)
        withheld = [decision.withheld for decision in decisions]
        if self.policy == "flag":
            return pictures.given, decisions
        if self.policy == "refuse":
            return pictures.without(withheld), decisions
        kept = pictures.replaced(withheld, lambda i, image: self.replace(image, decisions[i])[0])
        return kept, decisions

    def _check(self, pictures: Pictures) -> list[Decision]:
        start = time.perf_counter()
        if _state(self._index) != self._state:
            raise RunError(
                f"{self._index.path} was changed since this filter opened it: make another OutputFilter, which opens it as "
                "it is now"
            )
        decisions = self._decide(pictures.read(self._rule))
        seconds = time.perf_counter() - start
        if self._log is not None:
            self._log.add(decisions, seconds)
        self._tally.add(decisions, seconds)
        for decision in decisions:
            if decision.reason and decision.reason not in self._told:
                self._told.add(decision.reason)
                _log.warning(
                    "memcore: the output filter withholds an image: %s, %s (told once; counts has all)",
                    decision.reason,
                    decision.detail,
                )
        return decisions

    def _decide(self, images: Sequence[Read]) -> list[Decision]:
        pixels = [image for image in images if not isinstance(image, UnreadableImage)]
        compared = iter(self._compare(pixels) if pixels else [])
        return [
            Decision(Verdict.UNCOMPARED, reason=image.reason, detail=str(image))
            if isinstance(image, UnreadableImage)
            else next(compared)
            for image in images
        ]

    def _compare(self, pixels: Sequence[NDArray[np.uint8]]) -> list[Decision]:
        limits = np.full(len(pixels), self._near.limit, np.int64)
        found = nearest_within(self._index, _points(self._index, pixels), self._near, limits, self._threads)
        rows = found.rows.tolist()
        named = [row for row in rows if row != NONE]
        names = dict(zip(named, self._index.names(named), strict=True)) if named else {}
        decisions = []
        for i, row in enumerate(rows):
            if row != NONE:
                distance = self._near.distance(int(found.ssd[i]))
                decisions.append(Decision(Verdict.COPY, row, names[row], distance))
            elif i in found.unread:
                decisions.append(Decision(Verdict.UNDECIDED, reason="unread", detail=found.unread[i]))
            else:
                decisions.append(Decision(Verdict.PASSED))
        return decisions


def _open(
    given: Index | str | os.PathLike[str], allow_incomplete: bool
) -> tuple[Index, tuple[int, int, int]]:
    """Return the index, opened and complete, and the state of its description. Raises RunError for one that is not."""
    index = given if isinstance(given, Index) else Index.open(Path(given), memory=_HELD_BYTES)
    state = _state(index)
    if IndexMeta.read(index.path) != index.meta:
        raise RunError(f"{index.path} was changed since it was opened: open it again")
    index.check_sources()
    if allow_incomplete:
        return index, state
    gaps = [
        gap.text for gap in index_gaps(index.coverage(), count_reasons(index.quarantine()), index.image_shape)
    ]
    if added := index.added_files():
        gaps.append(f"files of its sources were not indexed: {len(added):,}, for example {added[0]}")
    if not len(index):
        gaps.append("it holds no image")
    if gaps:
        raise RunError(
            f"{index.path} is incomplete, so that copies of some training images would pass: {'; '.join(gaps)}. Complete "
            "it, or say allow_incomplete=True"
        )
    return index, state


def _state(index: Index) -> tuple[int, int, int]:
    try:
        about = os.stat(index.path / layout.META)
    except OSError as error:
        raise RunError(f"{index.path} cannot be read any more: {error.strerror}") from None
    return about.st_ino, about.st_size, about.st_mtime_ns


def _points(index: Index, pixels: Sequence[NDArray[np.uint8]]) -> Points:
    whole = np.stack(pixels)
    return Points.of(index, lambda i: whole[i], np.ones(len(whole), np.int64))


def _is_output(images: Any) -> bool:
    """Tell whether it is what a pipeline returns: something with ``images`` that is no array and no list of images."""
    return hasattr(images, "images") and not hasattr(images, "shape")


def _with_images(output: Any, images: Any, decisions: list[Decision]) -> Any:
    """Return a copy of a pipeline's output with other images."""
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        new: Any = dataclasses.replace(output, images=images)
    else:
        new = copy.copy(output)
        new.images = images
    new.decisions = decisions
    return new


def _name_of(function: Any) -> str:
    return (
        f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
    )


def _form(image: Any) -> str:
    shape = getattr(image, "shape", None) or getattr(image, "size", None)
    dtype = getattr(image, "dtype", None) or getattr(image, "mode", "")
    return f"{type(image).__name__} {'' if shape is None else tuple(shape)} {dtype}".strip()
