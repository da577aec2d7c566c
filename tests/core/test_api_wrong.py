"""Any argument of any public function given anything: what is refused is refused by memcore, and by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import memcore
from memcore.errors import MemcoreError

IMAGES = np.zeros((3, 16, 16, 3), dtype=np.uint8)
GRAPH = memcore.tiled_l2_graph(IMAGES)
WRONG = ["x", 1.5, float("nan"), None, [1], b"", -1, 0, 2**31, 2**63, 2**70, -(2**70)]
ARGUMENTS: dict[str, Callable[..., Any]] = {
    **{
        f"graph {a}": partial(memcore.tiled_l2_graph, IMAGES)
        for a in ("threshold", "min_clique", "distances")
    },
    **{
        f"images {a}": partial(memcore.pairwise_tiled_l2, IMAGES)
        for a in ("grid", "tile", "output", "out", "threads")
    },
    **{
        f"rows {a}": partial(memcore.knn, IMAGES, IMAGES, **({} if a == "k" else {"k": 1}))
        for a in ("k", "threads")
    },
    "torch k": partial(memcore.knn, torch.from_numpy(IMAGES), torch.from_numpy(IMAGES)),
    "blocks k": lambda k: memcore.knn(IMAGES, iter([IMAGES]), k),
    "max_clique node_limit": partial(memcore.max_clique, GRAPH),
    **{f"find_cliques {a}": partial(memcore.find_cliques, GRAPH) for a in ("min_size", "node_limit")},
    **{
        f"max_cliques {a}": partial(memcore.max_cliques, [GRAPH])
        for a in ("min_size", "node_limit", "threads")
    },
    "max_cliques graphs": memcore.max_cliques,
    **{
        f"prompt {a}": partial(memcore.PromptGraph, (8, 8, 3))
        for a in ("threshold", "min_clique", "node_limit")
    },
    "prompt shape": memcore.PromptGraph,
}


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_whatever_is_given_the_error_is_memcores_and_names_the_argument(name: str, wrong: Any) -> None:
    """And what is right by chance, as None or a large number often is, is taken."""
    argument = name.rpartition(" ")[2]
    said = argument
    try:
        ARGUMENTS[name](**{argument: wrong})
    except MemcoreError as error:
        said = str(error)
    assert argument in said
