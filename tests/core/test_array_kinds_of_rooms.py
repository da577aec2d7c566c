"""Kinds of arrays beyond the core: marks, indices, samplers' images, embeddings, an index's images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memcore
from memcore import index
from memcore.duplicates.embeddings import group_embeddings
from memcore.errors import ArgumentTypeError, ArgumentValueError, SamplerError
from memcore.sampling.callables import CallableSampler
from memcore.sampling.protocol import check_images
from memcore.types import Images, Request
from tests.support.array_kinds import Exporter, quietly, tensor

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
EXCLUDE = np.array([True, False, False, False, False, True])


def _masked(x: np.ndarray) -> Any:
    return np.ma.masked_array(x, np.zeros(x.shape, dtype=bool))


def _prompt_graph() -> memcore.PromptGraph:
    graph = memcore.PromptGraph((8, 8, 3))
    graph.extend(IMAGES)
    return graph


def _device_prompts() -> memcore.DevicePrompts:
    prompts = memcore.DevicePrompts(2, 16, (8, 8, 3), device="cpu")
    prompts.extend(tensor(IMAGES), [0] * 6)
    return prompts


EXTEND: dict[str, Callable[[Any], Any]] = {
    "PromptGraph": lambda marks: _prompt_graph().extend(IMAGES, exclude=marks),
    "DevicePrompts": lambda marks: _device_prompts().extend(tensor(IMAGES), [1] * 6, exclude=marks),
}


@pytest.mark.parametrize("kind", [np.asarray, tensor, list, Exporter, lambda x: np.repeat(x, 2)[::2]])
@pytest.mark.parametrize("name", EXTEND)
def test_marks_are_read_as_their_values(name: str, kind: Callable[[Any], Any]) -> None:
    EXTEND[name](kind(EXCLUDE))


@pytest.mark.parametrize("kind", [_masked, lambda x: tensor(x).to_sparse(), lambda _: 1.5, lambda _: "x"])
@pytest.mark.parametrize("name", EXTEND)
def test_marks_of_other_kinds_are_refused(name: str, kind: Callable[[Any], Any]) -> None:
    with pytest.raises(ArgumentTypeError, match="exclude"):
        EXTEND[name](kind(EXCLUDE))


@pytest.mark.parametrize("index", [0.0, 0.9, float("nan"), "0", None, True, np.float32(1)], ids=repr)
def test_an_index_that_is_no_integer_is_refused(index: Any) -> None:
    for ask in (_prompt_graph().pixels, lambda i: _device_prompts().pixels(0, i)):
        with pytest.raises(ArgumentTypeError, match="index must be an integer"):
            ask(index)


@pytest.mark.parametrize("index", [-1, 6, 2**32, 2**63, 2**70, np.uint64(2**63)], ids=repr)
def test_an_index_beyond_the_generations_is_refused(index: Any) -> None:
    for ask in (_prompt_graph().pixels, lambda i: _device_prompts().pixels(0, i)):
        with pytest.raises(ArgumentValueError, match="is not a kept generation"):
            ask(index)


@pytest.mark.parametrize("run", [(1, 0.5, 1), (1, 0, 1.5), (0.9, 0, 1), (1, True, 1)], ids=str)
def test_runs_are_of_integers(run: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"runs|slots"):
        _device_prompts().extend_runs(tensor(IMAGES), [run])


def test_one_image_of_other_kinds() -> None:
    graph = memcore.PromptGraph((8, 8, 3))
    assert graph.extend_one(np.asfortranarray(IMAGES[0]))
    assert graph.extend_one(IMAGES[1][::-1, ::-1])
    np.testing.assert_array_equal(graph.pixels(0), IMAGES[0])
    np.testing.assert_array_equal(graph.pixels(1), IMAGES[1][::-1, ::-1])
    for wrong in (_masked(IMAGES[0]), IMAGES[0].tolist(), tensor(IMAGES[0]).to_sparse()):
        with pytest.raises(ArgumentTypeError, match="image"):
            graph.extend_one(wrong)
    with pytest.raises(ArgumentTypeError, match="buffer must be a NumPy array"):
        memcore.PromptGraph((8, 8, 3), buffer=_masked(IMAGES))
    assert repr(graph) == "PromptGraph(shape=(8, 8, 3), threshold=0.15, n=2)"


REQUESTS = [Request(0, "a dog", seed) for seed in range(6)]
PIXELS_REFUSED: dict[str, Any] = {
    "masked": _masked(IMAGES),
    "sparse": tensor(IMAGES).to_sparse(),
    "nested": quietly(lambda: torch.nested.nested_tensor(list(tensor(IMAGES)))),
    "quantised": quietly(lambda: torch.quantize_per_tensor(tensor(IMAGES).float(), 1.0, 0, torch.quint8)),
    "big-endian floats": IMAGES.astype(">f4"),
}


@pytest.mark.parametrize("kind", PIXELS_REFUSED)
def test_a_samplers_pixels_of_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(SamplerError, match="the sampler's pixels"):
        check_images(Images(PIXELS_REFUSED[kind], np.zeros(6, bool)), REQUESTS, (8, 8, 3))


def test_masks_of_a_samplers_images_are_not_dropped() -> None:
    for answer in (list(_masked(IMAGES)), _masked(IMAGES)):
        sampler = CallableSampler(lambda prompts, seeds, answer=answer: answer, (8, 8, 3), "f")
        with pytest.raises(SamplerError, match="masked"):
            sampler.sample(REQUESTS)
    with pytest.raises(SamplerError, match="flagged"):
        check_images(Images(IMAGES, _masked(np.zeros(6, bool))), REQUESTS, (8, 8, 3))


def test_embeddings() -> None:
    rows = np.random.default_rng(0).random((9, 5), dtype=np.float32)
    rows[4] = rows[2]
    want = group_embeddings(rows, 0.999)
    for kind in (
        rows.astype(">f4"),
        np.asfortranarray(rows),
        rows.astype(np.float64),
        np.repeat(rows, 2, 1)[:, ::2],
    ):
        np.testing.assert_array_equal(group_embeddings(kind, 0.999), want)
    for wrong in (_masked(rows), rows.astype(np.int64), rows.astype(complex)):
        with pytest.raises(ArgumentTypeError, match="embeddings"):
            group_embeddings(wrong, 0.999)


def test_images_that_are_looked_up_in_an_index(tmp_path: Path) -> None:
    np.save(tmp_path / "training.npy", IMAGES)
    index.build_index(tmp_path / "index", index.open_source(tmp_path / "training.npy"))
    opened = index.Index.open(tmp_path / "index")
    want = index.nearest(opened, IMAGES[:3], 2)
    planes = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for kind in (np.asfortranarray(IMAGES), planes, np.repeat(IMAGES, 2, 2)[:, :, ::2]):
        np.testing.assert_array_equal(index.nearest(opened, kind[:3], 2).indices, want.indices)
    with pytest.raises(ArgumentTypeError, match="images must not be masked"):
        index.nearest(opened, _masked(IMAGES), 2)
