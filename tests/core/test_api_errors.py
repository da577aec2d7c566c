"""A table of wrong calls for each public function: the exception's type and the exact text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import memcore
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError, IsaError

IMAGES = np.zeros((3, 16, 16, 3), dtype=np.uint8)
FLOATS = np.zeros((3, 16, 16, 3), dtype=np.float32)
NAN = FLOATS.copy()
NAN[1, 2, 3, 0] = np.nan
SIGNED = FLOATS.copy()
SIGNED[0, 0, 0, 0] = -1
ROWS = np.zeros((5, 8), dtype=np.uint8)
TRIANGLE = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
SKEW = np.triu(TRIANGLE)
GRAPH = memcore.tiled_l2_graph(IMAGES)

Call = Callable[[], object]
TYPE, VALUE, DEVICE = ArgumentTypeError, ArgumentValueError, DeviceError

PAIRWISE: list[tuple[Call, type, str]] = [
    (
        lambda: memcore.pairwise_tiled_l2([IMAGES[0]]),
        TYPE,
        "images must be a NumPy array, a torch tensor or an array with __dlpack__, got list; a list of images of one "
        "shape becomes one with numpy.stack()",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES[0]),
        VALUE,
        "images must have the shape (N, H, W, C) or (B, N, H, W, C), got (16, 16, 3); a single image is images[None]",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES.astype(np.int32)),
        TYPE,
        "images must be uint8, or float16, bfloat16 or float32 in [0, 1], got int32; convert explicitly, for example "
        "with memcore.to_uint8() or images.astype('float32')",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES.astype(np.float64)),
        TYPE,
        "images must be uint8, or float16, bfloat16 or float32 in [0, 1], got float64; convert explicitly, for example "
        "with memcore.to_uint8() or images.astype('float32')",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES[:0]),
        VALUE,
        "images must hold at least one image of at least one pixel, got (0, 16, 16, 3)",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, channels="first"),
        VALUE,
        "images must have 1 to 4 channels, got 16 with channels='first' and shape (3, 16, 16, 3); pass channels='last' "
        "if the channels are there",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, channels="middle"),
        VALUE,
        "channels must be 'first', 'last' or None, got 'middle'",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, grid=(5, 4)),
        VALUE,
        "grid=(5, 4) does not divide the images: 16 x 16 pixels cannot be cut into 5 x 4 tiles; choose grid so that "
        "both sides divide, or crop",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, tile=(5, 4)),
        VALUE,
        "tile=(5, 4) does not divide the images: 16 x 16 pixels cannot be cut into tiles of 5 x 4 pixels; choose tile "
        "so that both sides divide, or crop",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, grid=(2, 2), tile=(4, 4)),
        VALUE,
        "give grid or tile, not both, got grid=(2, 2) and tile=(4, 4)",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, grid=4),
        TYPE,
        "grid must be two integers (rows, columns), got 4",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, grid=(0, 4)),
        VALUE,
        "grid must be two positive integers, got (0, 4)",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, IMAGES[:, :8]),
        VALUE,
        "other must hold images of the same shape as images (16, 16, 3) (H, W, C), got (8, 16, 3)",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, FLOATS),
        TYPE,
        "other must have the same dtype as images (uint8), got float32",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, torch.zeros(3, 3, 16, 16, dtype=torch.uint8)),
        TYPE,
        "other must have the same library as images (numpy), got torch",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES[None], IMAGES),
        VALUE,
        "other must have the same batch as images (1, 3, 16, 16, 3), got (3, 16, 16, 3)",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, output="euclid"),
        VALUE,
        "output must be 'distance' or 'ssd', got 'euclid'",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(FLOATS, output="ssd"),
        VALUE,
        "output='ssd' is an integer of uint8 images, got float32 images",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(NAN),
        VALUE,
        "images must lie in [0, 1] without NaN, got another value at (batch, image, row, column, channel) = "
        "(0, 1, 2, 3, 0); a pipeline that answers in [-1, 1] gives (x + 1) / 2",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(FLOATS, SIGNED),
        VALUE,
        "other must lie in [0, 1] without NaN, got another value at (batch, image, row, column, channel) = "
        "(0, 0, 0, 0, 0); a pipeline that answers in [-1, 1] gives (x + 1) / 2",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, backend="tpu"),
        VALUE,
        "backend must be 'auto', 'reference', 'cpu' or 'gpu', got 'tpu'",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, backend="gpu"),
        DEVICE,
        "backend='gpu' needs images on a CUDA device, got CPU images; call images.cuda() first",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(torch.zeros(3, 3, 16, 16, dtype=torch.uint8, device="meta")),
        DEVICE,
        "images must be on the CPU or a CUDA device, got meta",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, threads=0),
        VALUE,
        "threads must be a positive integer or None, got 0",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, threads=1.5),
        TYPE,
        "threads must be a positive integer or None, got float",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, out=np.zeros((3, 3), np.float64)),
        VALUE,
        "out must be float32 of shape (3, 3), got float64 of (3, 3)",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(IMAGES, out=np.zeros((6, 3), np.float32)[::2]),
        VALUE,
        "out must be C-contiguous and writeable",
    ),
    (
        lambda: memcore.pairwise_tiled_l2(torch.zeros(3, 3, 16, 16, dtype=torch.uint8).to_sparse()),
        TYPE,
        "images must be a dense tensor, got layout torch.sparse_coo",
    ),
]

GRAPHS: list[tuple[Call, type, str]] = [
    (lambda: memcore.tiled_l2_graph(IMAGES, 1.5), VALUE, "threshold must be a number in [0, 1], got 1.5"),
    (lambda: memcore.tiled_l2_graph(IMAGES, -0.1), VALUE, "threshold must be a number in [0, 1], got -0.1"),
    (
        lambda: memcore.tiled_l2_graph(IMAGES, float("nan")),
        VALUE,
        "threshold must be a number in [0, 1], got nan",
    ),
    (lambda: memcore.tiled_l2_graph(IMAGES, "0.1"), TYPE, "threshold must be a number in [0, 1], got str"),
    (lambda: memcore.tiled_l2_graph(IMAGES, True), TYPE, "threshold must be a number in [0, 1], got bool"),
    (
        lambda: memcore.tiled_l2_graph(IMAGES[None]),
        VALUE,
        "images must have the shape (N, H, W, C), got (1, 3, 16, 16, 3)",
    ),
    (lambda: memcore.tiled_l2_graph(IMAGES, min_clique=1), VALUE, "min_clique must be >= 2, got 1"),
    (lambda: memcore.tiled_l2_graph(IMAGES, min_clique="x"), TYPE, "min_clique must be an integer, got str"),
    (
        lambda: memcore.tiled_l2_graph(IMAGES, grid=(3, 3)),
        VALUE,
        "grid=(3, 3) does not divide the images: 16 x 16 pixels cannot be cut into 3 x 3 tiles; choose grid so that "
        "both sides divide, or crop",
    ),
    (
        lambda: memcore.tiled_l2_graph(IMAGES, threads=-2),
        VALUE,
        "threads must be a positive integer or None, got -2",
    ),
    (
        lambda: memcore.tiled_l2_graph(IMAGES, backend="gpu"),
        DEVICE,
        "backend='gpu' needs images on a CUDA device, got CPU images; call images.cuda() first",
    ),
]

CLIQUES: list[tuple[Call, type, str]] = [
    (
        lambda: memcore.max_clique([[0, 1]]),
        TYPE,
        "graph must be a memcore.Graph or an (n, n) adjacency matrix, got list",
    ),
    (
        lambda: memcore.max_clique(TRIANGLE.astype(float)),
        TYPE,
        "graph must be an adjacency matrix of bool or uint8, got float64",
    ),
    (
        lambda: memcore.max_clique(TRIANGLE[:2]),
        VALUE,
        "graph must be an adjacency matrix of shape (n, n), got (2, 3)",
    ),
    (
        lambda: memcore.max_clique(TRIANGLE[0]),
        VALUE,
        "graph must be an adjacency matrix of shape (n, n), got (3,)",
    ),
    (
        lambda: memcore.max_clique(SKEW),
        VALUE,
        "graph must be symmetric; use graph | graph.T if one direction is enough for an edge",
    ),
    (
        lambda: memcore.max_clique(TRIANGLE | np.eye(3, dtype=bool)),
        VALUE,
        "graph must have nothing on its diagonal: a vertex is not its own neighbour",
    ),
    (lambda: memcore.max_clique(TRIANGLE, node_limit=0), VALUE, "node_limit must be >= 1, got 0"),
    (lambda: memcore.max_clique(TRIANGLE, node_limit=1e6), TYPE, "node_limit must be an integer, got float"),
    (
        lambda: memcore.max_clique(TRIANGLE, backend="tpu"),
        VALUE,
        "backend must be 'auto', 'cpu', 'gpu' or 'reference', got 'tpu'",
    ),
    (lambda: memcore.find_cliques(TRIANGLE, 1), VALUE, "min_size must be >= 2, got 1"),
    (lambda: memcore.find_cliques(TRIANGLE, True), TYPE, "min_size must be an integer, got bool"),
    (lambda: memcore.find_cliques(GRAPH, 2, node_limit=-1), VALUE, "node_limit must be >= 1, got -1"),
    (
        lambda: memcore.find_cliques(SKEW, 2),
        VALUE,
        "graph must be symmetric; use graph | graph.T if one direction is enough for an edge",
    ),
    (
        lambda: memcore.find_cliques(None, 2),
        TYPE,
        "graph must be a memcore.Graph or an (n, n) adjacency matrix, got NoneType",
    ),
]

KNN: list[tuple[Call, type, str]] = [
    (lambda: memcore.knn(ROWS, ROWS, 0), VALUE, "k must be >= 1, got 0"),
    (lambda: memcore.knn(ROWS, ROWS, 6), VALUE, "k must be at most the number of rows of corpus, 5, got 6"),
    (lambda: memcore.knn(ROWS, ROWS, 2.0), TYPE, "k must be an integer, got float"),
    (
        lambda: memcore.knn(ROWS, ROWS[:, :4], 1),
        VALUE,
        "corpus must have rows of the same shape as queries (8,), got (4,)",
    ),
    (
        lambda: memcore.knn(ROWS.astype(np.float32), ROWS, 1),
        TYPE,
        "queries must be uint8, got float32; memcore.to_uint8() converts floats in [0, 1]",
    ),
    (
        lambda: memcore.knn(ROWS, ROWS.astype(np.int8), 1),
        TYPE,
        "corpus must be uint8, got int8; memcore.to_uint8() converts floats in [0, 1]",
    ),
    (
        lambda: memcore.knn(ROWS[0], ROWS, 1),
        VALUE,
        "queries must have the shape (N, D) or (N, H, W, C), got (8,)",
    ),
    (
        lambda: memcore.knn(ROWS, ROWS[:0], 1),
        VALUE,
        "corpus must hold at least one row of at least one byte, got (0, 8)",
    ),
    (
        lambda: memcore.knn(ROWS, torch.from_numpy(ROWS), 1),
        TYPE,
        "corpus must be of the same library as queries (numpy), got torch",
    ),
    (
        lambda: memcore.knn(torch.zeros(2, 8, dtype=torch.uint8, device="meta"), ROWS, 1),
        DEVICE,
        "queries must be on the CPU or a CUDA device, got meta",
    ),
    (
        lambda: memcore.knn(ROWS, ROWS, 1, threads=0),
        VALUE,
        "threads must be a positive integer or None, got 0",
    ),
]


def _prompt_graph() -> memcore.PromptGraph:
    return memcore.PromptGraph((16, 16, 3), 0.15)


PROMPT_GRAPH: list[tuple[Call, type, str]] = [
    (
        lambda: memcore.PromptGraph((16, 16), 0.15),
        VALUE,
        "shape must be (height, width, channels), got (16, 16)",
    ),
    (lambda: memcore.PromptGraph((16, 0, 3), 0.15), VALUE, "shape must be >= 1, got 0"),
    (lambda: memcore.PromptGraph((16, 16, 3), 2), VALUE, "threshold must be a number in [0, 1], got 2"),
    (
        lambda: memcore.PromptGraph((18, 16, 3), 0.15),
        VALUE,
        "grid=(4, 4) does not divide the images: 18 x 16 pixels cannot be cut into 4 x 4 tiles; choose grid so that "
        "both sides divide, or crop",
    ),
    (lambda: memcore.PromptGraph((16, 16, 3), 0.15, min_clique=1), VALUE, "min_clique must be >= 2, got 1"),
    (lambda: memcore.PromptGraph((16, 16, 3), 0.15, capacity=0), VALUE, "capacity must be >= 1, got 0"),
    (
        lambda: _prompt_graph().extend(IMAGES[:, :8]),
        VALUE,
        "images must have the shape (16, 16, 3) (H, W, C), got (8, 16, 3)",
    ),
    (
        lambda: _prompt_graph().extend(FLOATS),
        TYPE,
        "images must be uint8, got float32; memcore.to_uint8() converts",
    ),
    (
        lambda: _prompt_graph().extend(IMAGES, exclude=np.zeros(2, bool)),
        VALUE,
        "exclude must be bool of shape (3,), got bool (2,)",
    ),
    (lambda: _prompt_graph().pixels(0), VALUE, "index 0 is not a kept generation of this prompt"),
]

TO_UINT8: list[tuple[Call, type, str]] = [
    (
        lambda: memcore.to_uint8(SIGNED),
        VALUE,
        "images must lie in [0, 1] without NaN, got values from -1 to 0; a pipeline that answers in [-1, 1] gives "
        "(x + 1) / 2",
    ),
    (
        lambda: memcore.to_uint8(NAN),
        VALUE,
        "images must lie in [0, 1] without NaN, got values from nan to nan; a pipeline that answers in [-1, 1] gives "
        "(x + 1) / 2",
    ),
    (
        lambda: memcore.to_uint8(torch.full((2, 2), 1.01)),
        VALUE,
        "images must lie in [0, 1] without NaN, got values from 1.01 to 1.01; a pipeline that answers in [-1, 1] gives "
        "(x + 1) / 2",
    ),
    (
        lambda: memcore.to_uint8(IMAGES.astype(np.int64)),
        TYPE,
        "images must be floats in [0, 1] or uint8, got int64",
    ),
    (
        lambda: memcore.to_uint8(IMAGES.astype(bool)),
        TYPE,
        "images must be floats in [0, 1] or uint8, got bool",
    ),
    (
        lambda: memcore.to_uint8(torch.zeros(2, dtype=torch.int16)),
        TYPE,
        "images must be floats in [0, 1] or uint8, got torch.int16",
    ),
    (
        lambda: memcore.to_uint8([0.5]),
        TYPE,
        "images must be a NumPy array, a torch tensor or an array with __dlpack__, got list; a list of images of one "
        "shape becomes one with numpy.stack()",
    ),
    (
        lambda: memcore.to_uint8(FLOATS.astype(complex)),
        TYPE,
        "images must be floats in [0, 1] or uint8, got complex128",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "text"), [*PAIRWISE, *GRAPHS, *CLIQUES, *KNN, *PROMPT_GRAPH, *TO_UINT8]
)
def test_wrong_call(call: Call, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_every_function_has_a_table_of_at_least_eight() -> None:
    for table in (PAIRWISE, GRAPHS, CLIQUES, KNN, PROMPT_GRAPH, TO_UINT8):
        assert len(table) >= 8


def test_partial_graph_is_refused_for_smaller_cliques() -> None:
    graph = memcore.Graph(
        3, GRAPH.edges, GRAPH.ssd, GRAPH.distances, 0.15, 48, partial=True, stats={"min_clique": 5}
    )
    with pytest.raises(ArgumentValueError, match=r"min_size must be at least the graph's min_clique=5"):
        memcore.find_cliques(graph, 3)
    assert memcore.find_cliques(graph, 5) == []


@pytest.mark.parametrize("name", ["avx1024", "", "AVX2"])
def test_unknown_instruction_set(name: str) -> None:
    with pytest.raises(IsaError, match="scalar"), memcore.isa.using(name):
        pass
