"""Any folder, tar, array or Parquet of images that memcore reads, as the data of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memcore.errors import ConfigError
from memcore.images.resize import Resize
from memcore.sources.in_memory import read_training_set
from memcore.study.data.images import ImageSet, make_grey, split
from memcore.study.protocols.protocol import DataSpec
from memcore.system.progress import say

#: Background of transparent images.
_WHITE = (255, 255, 255)


def load_stored(spec: DataSpec) -> ImageSet:
    """Return the images at ``path``, resized to the side (the centre, by Lanczos). They have no classes.

    What cannot be read is left out, and counted in what is said of the data. Raises ConfigError if nothing can be read.
    """
    if not spec.path:
        raise ConfigError("path is missing: a folder of images, or a .tar, .parquet, .npy or .npz file")
    found = read_training_set(
        Path(spec.path), resize=Resize(spec.side, spec.side, "lanczos", "crop"), background=_WHITE
    )
    if not len(found.images):
        raise ConfigError(f"path={spec.path!r} holds no image that can be read")
    if found.left_out:
        say(f"{spec.path}: {len(found.left_out):,} images cannot be read and are left out", quiet=False)
    images = make_grey(found.images) if spec.grey else found.images
    labels = np.full(len(images), -1, np.int64)
    left_out = f", {len(found.left_out):,} left out" if found.left_out else ""
    return split(images, labels, spec.seed, f"the user's own images ({Path(spec.path).name}{left_out})")
