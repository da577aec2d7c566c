"""The size that counts in a set of stored generations: the most common one among the first images."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from memcore.errors import ConfigError
from memcore.images import Background, UnreadableImage, decode
from memcore.sources.base import shown
from memcore.sources.layouts import ArrayPrompts, Collection
from memcore.sources.npy_file import Shape

#: Images looked at to learn the set's size: the most common one counts, whatever the first image is.
_LOOKED_AT, _OF_EACH = 25, 5


def common_shape(
    path: Path, prompts: Sequence[tuple[Collection | ArrayPrompts, int]], background: Background | None
) -> Shape:
    """Return the most common (height, width, channels) of the first images; raise ConfigError if none can be read."""
    shapes = Counter(itertools.islice(_shapes(prompts, background), _LOOKED_AT))
    if not shapes:
        why = _first_refusal(prompts, background)
        raise ConfigError(f"images={shown(path)} holds not one readable image{why}")
    return shapes.most_common(1)[0][0]


def _first_refusal(
    prompts: Sequence[tuple[Collection | ArrayPrompts, int]], background: Background | None
) -> str:
    """Return why the first image is refused, as the end of a message."""
    for collection, index in prompts:
        try:
            if isinstance(collection, ArrayPrompts):
                name = collection.label()
                collection.header()
                continue
            for item in itertools.islice(collection.items(index), 1):
                name = item.source
                content = item.read()
                if not isinstance(content, np.ndarray):
                    decode(content, background=background or (0, 0, 0))
        except UnreadableImage as error:
            return f": {name} is refused ({error.reason}: {error})"
    return ""


def _shapes(
    prompts: Sequence[tuple[Collection | ArrayPrompts, int]], background: Background | None
) -> Iterator[Shape]:
    """Yield the sizes of the first images that can be read, a few of each prompt."""
    for collection, index in prompts:
        if isinstance(collection, ArrayPrompts):
            with contextlib.suppress(UnreadableImage):
                yield collection.header().image_shape
            continue
        for item in itertools.islice(collection.items(index), _OF_EACH):
            with contextlib.suppress(UnreadableImage):
                content = item.read()
                if not isinstance(content, np.ndarray):
                    content = decode(content, background=background or (0, 0, 0))
                h, w, c = content.shape
                yield h, w, c
