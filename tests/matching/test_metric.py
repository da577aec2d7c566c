"""One table of metrics: every user of it offers the same names, and a criterion is decided in integers."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

import memcore
from memcore.errors import ArgumentValueError
from memcore.matching.metric import METRICS, Criterion, MetricName, find_metric, metric_column, metric_label
from memcore.types import Threshold


def test_the_table_has_each_name_once() -> None:
    assert tuple(METRICS) == get_args(MetricName)
    assert all(metric.name == name and metric.label and metric.help for name, metric in METRICS.items())
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(ArgumentValueError, match=r"metric must be 'l2' or 'tiled_l2', got 'l3'"):
        find_metric("l3")
    assert metric_label("l3") == metric_label(None) == metric_column("l3") == metric_column(None) == "l2"
    assert [metric_column(name) for name in ("l2", "tiled_l2")] == ["l2", "tiled_l2"]


@pytest.mark.parametrize("name", METRICS)
def test_a_criterion_is_the_largest_tile_of_its_cut(name: str) -> None:
    images = np.random.default_rng(0).integers(0, 90, (12, 16, 24, 3), dtype=np.uint8)
    near_enough = Criterion.of(name, 0.15, (16, 24, 3), (4, 4))
    rows, columns = near_enough.cut
    assert near_enough.tiles * near_enough.tile_bytes == images[0].size
    assert near_enough.limit == Threshold(0.15).ssd_max(near_enough.tile_bytes)
    ssd = memcore.pairwise_tiled_l2(images, grid=(rows, columns), output="ssd")
    distances = memcore.pairwise_tiled_l2(images, grid=(rows, columns))
    assert np.array_equal(near_enough.distances(ssd), distances)
    assert near_enough.distance(int(ssd[0, 1])) == float(distances[0, 1])
    whole = memcore.pairwise_tiled_l2(images, grid=(1, 1), output="ssd")
    assert (whole <= near_enough.tiles * ssd.astype(np.int64)).all()


def test_a_cut_that_leaves_a_rest_is_refused() -> None:
    assert Criterion.of("l2", 0.1, (10, 10, 3), (4, 4)).tiles == 1
    with pytest.raises(ArgumentValueError, match=r"grid=\(4, 4\) does not divide the images: 10 x 10 pixels"):
        Criterion.of("tiled_l2", 0.1, (10, 10, 3), (4, 4))
