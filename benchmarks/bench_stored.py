"""Stored generations read and graphed, beside what cannot be saved: reading the same bytes, or the decoder alone."""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memcore import PromptGraph, tiled_l2_graph
from memcore.jobs.stored import StoredPrompts

Images = NDArray[np.uint8]
KIND, THRESHOLD = "12 duplicates", 0.15
FORMATS = ("npy", "jpeg", "png")


@pytest.fixture(scope="module", params=FORMATS)
def stored(
    request: pytest.FixtureRequest,
    images_of: Callable[[str], Images],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, StoredPrompts, list[bytes]]:
    """(format, one prompt of it, its encoded images); JPEG of quality 90."""
    images = images_of(KIND)
    root: Path = tmp_path_factory.mktemp(request.param) / "set"
    encoded: list[bytes] = []
    if request.param == "npy":
        root.mkdir()
        np.save(root / "prompt.npy", images)
    else:
        (root / "prompt").mkdir(parents=True)
        for number, image in enumerate(images):
            sink = io.BytesIO()
            Image.fromarray(image).save(sink, request.param, quality=90)
            (root / "prompt" / f"{number:05d}.{request.param}").write_bytes(sink.getvalue())
            encoded.append(sink.getvalue())
    return request.param, StoredPrompts(root), encoded


def edges_of(stored: StoredPrompts) -> NDArray[np.int32]:
    """What ``memcore filter`` does with a prompt up to its graph."""
    graph = PromptGraph(
        stored.image_shape,
        THRESHOLD,
        channels="last",
        threads=1,
        capacity=stored.count(0),
        **stored.images_in(0),
    )
    for _, broken in stored.feed(0, graph):
        assert not broken
    return graph.graph().edges


def bench_memcore(benchmark: Any, stored: tuple[str, StoredPrompts, list[bytes]]) -> None:
    kind, prompts, _ = stored
    benchmark.group = f"stored, {kind}"
    pixels = np.concatenate([batch[0].copy() for batch in prompts.read(0)])
    assert np.array_equal(edges_of(prompts), tiled_l2_graph(pixels, THRESHOLD, channels="last").edges)
    benchmark.pedantic(edges_of, (prompts,), rounds=5, warmup_rounds=1)


def bench_floor(
    benchmark: Any, stored: tuple[str, StoredPrompts, list[bytes]], needs: Callable[[str], None]
) -> None:
    """The same bytes read into a buffer that is reused; or the fastest decoder that was found, from memory."""
    kind, prompts, encoded = stored
    benchmark.group = f"stored, {kind}"
    if kind == "npy":
        path = prompts.path / "prompt.npy"
        # Aligned to a page: elsewhere the system's copy may take two or three times as long, and the floor would be none
        buffer = mmap.mmap(-1, path.stat().st_size)

        def floor() -> None:
            with path.open("rb", buffering=0) as file:
                done, view = 0, memoryview(buffer)
                while done < len(view):
                    done += file.readinto(view[done : done + (8 << 20)])
    elif kind == "jpeg":
        needs("simplejpeg")
        import simplejpeg

        out = np.empty(prompts.image_shape, np.uint8)

        def floor() -> None:
            for data in encoded:
                simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    else:
        needs("kornia_rs")
        import kornia_rs

        size = prompts.image_shape[:2]

        def floor() -> None:
            for data in encoded:
                kornia_rs.io.decode_image_png_u8(data, size, "rgb")

    benchmark.pedantic(floor, rounds=5, warmup_rounds=1)
