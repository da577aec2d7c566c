"""The table of distances that a match or a search for duplicates may use.

Every metric is the largest l2 among the tiles of a cut, in [0, 1], and is decided in integers. To add one, add its name
to ``MetricName`` and its entry to ``METRICS``: matching, the index, ``memcore prompts``, the command line's choices and
the report's words all read the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import tile_shape
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.types import Threshold

MetricName: TypeAlias = Literal["l2", "tiled_l2"]
#: Rows and columns of tiles.
Grid: TypeAlias = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One distance: ``cut`` gives its tiles from the run's grid, ``label`` is what people read, ``help`` a flag's text."""

    name: MetricName
    label: str
    cut: Callable[[Grid], Grid]
    help: str


#: Every metric by its name, the paper's first.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("l2", "l2", lambda grid: (1, 1), "over the whole image, the paper's"),
        Metric(
            "tiled_l2",
            "tiled l2",
            lambda grid: grid,
            "the largest of the run's tiles, stricter for small images on flat backgrounds",
        ),
    )
}


def find_metric(name: str) -> Metric:
    """Return the metric of that name; ArgumentValueError if there is none."""
    if name not in METRICS:
        *others, last = (repr(known) for known in METRICS)
        raise ArgumentValueError(f"metric must be {', '.join(others)} or {last}, got {name!r}")
    return METRICS[name]


def metric_label(name: str | None) -> str:
    """Return what people read for a metric of match.json; l2 where none is named, or one of another version.

    >>> metric_label("tiled_l2")
    'tiled l2'
    """
    return METRICS[name if name is not None and name in METRICS else "l2"].label


def metric_column(name: str | None) -> str:
    """Return the column of a match that holds a metric's distance; l2 for a metric that has no column of its own."""
    from memcore.runs.rows import MatchRow  # imported here, since the command line only names the metrics

    return name if name is not None and name in METRICS and name in MatchRow.__annotations__ else "l2"


def check_delta(delta: float) -> None:
    """Raise ArgumentTypeError or ArgumentValueError, naming delta, unless it is a number in [0, 1]."""
    try:
        Threshold(delta)
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise type(error)(str(error).replace("threshold", "delta", 1)) from None


@dataclasses.dataclass(frozen=True)
class Criterion:
    """When two images of one shape are near: no tile of ``cut`` has an ssd above ``limit``."""

    cut: Grid
    tile_bytes: int
    limit: int

    @classmethod
    def of(cls, metric: str, delta: float, image_shape: tuple[int, int, int], grid: Grid) -> Criterion:
        """Return the criterion "at most ``delta`` in ``metric``".

        Raises ArgumentValueError for an unknown metric, a threshold outside [0, 1], or a cut that leaves a remainder.
        """
        cut = find_metric(metric).cut(grid)
        height, width = tile_shape(image_shape, cut, None)
        tile_bytes = height * width * image_shape[2]
        return cls(cut, tile_bytes, Threshold(delta).ssd_max(tile_bytes))

    @property
    def tiles(self) -> int:
        """Return the tiles of an image. Images are not near if their ssd is above ``tiles`` times ``limit``."""
        return self.cut[0] * self.cut[1]

    def distances(self, ssd: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
        """Convert the tiles' ssd to distances."""
        return ssd_to_distance(ssd, self.tile_bytes)

    def distance(self, ssd: int) -> float:
        """Convert one ssd to a distance."""
        return float(self.distances(np.array([ssd], dtype=np.uint64))[0])
