"""Measure the speeds of one worker by a few seconds of a run's own work on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.audit.source import make_source
from memcore.errors import ConfigError
from memcore.graphs.prompt_graph import PromptGraph
from memcore.runs.config import Config
from memcore.runs.pictures import png_bytes
from memcore.runs.prompts import Entry
from memcore.sampling.protocol import asks_once
from memcore.sampling.seeds import derive_seed, sampler_seed_bits
from memcore.sources.by_prompt import StoredPrompts
from memcore.types import Request

#: Images of a hosted model that are asked for to measure it.
HOSTED_IMAGES = 4
#: Bytes of images that the graph is measured on at most; more are extrapolated.
_GRAPH_BYTES = 128 << 20


@dataclasses.dataclass(frozen=True)
class Measured:
    """Speeds of one worker alone on this machine; seconds unless said otherwise.

    ``image``, ``image_low`` and ``image_high`` are the median, the quickest and the slowest batch, as seconds an image:
    sampled, or read and decoded. ``decoder`` is the part of it, in [0, 1], that turns latents into pixels (None: not known).
    ``screen`` is an image of the screen. ``graph`` is a prompt with all its generations, distances and cliques; it was
    measured with ``graph_images`` of them.
    """

    load: float
    images: int
    image: float
    image_low: float
    image_high: float
    decoder: float | None
    screen: float | None
    graph: float
    graph_images: int
    png: float
    png_bytes: int
    image_shape: tuple[int, int, int]


def measure(config: Config, prompts: Sequence[Entry], *, seconds: float = 5.0) -> Measured:
    """Load what the configuration names, work for about ``seconds`` after a warm-up, and return the speeds.

    A hosted model is asked for ``HOSTED_IMAGES`` images alone, since they cost money.

    Raises ConfigError for source "custom" without a ``sampler``, which only its own program can measure.
    """
    if config.source == "custom" and not config.sampler:
        raise ConfigError(
            "a plan needs a model or stored images; source='custom' is known only to its program"
        )
    start = time.perf_counter()
    decoder: list[float] = []
    screen: Callable[[], float] | None = None
    source = make_source(config)
    load = time.perf_counter() - start
    watched: Any = contextlib.nullcontext()
    hosted = False
    if isinstance(source, StoredPrompts):
        batches = _read(source, config)
    else:
        hosted = asks_once(source)
        batches = _sampled(source, config, prompts, min(config.batch_size, HOSTED_IMAGES) if hosted else None)
        watched = _decoder_watched(getattr(source, "_pipe", None), decoder)
        if config.screen != "none":
            screen = _screening(source, config, prompts)
    with watched:
        spent, pixels = _timed_once(batches) if hosted else _timed(batches, seconds, decoder)
    per_image = sorted(s / n for s, n in spent)
    total = sum(s for s, _ in spent)
    shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    graph, graph_images = _graph_seconds(config, shape)
    start = time.perf_counter()
    encoded = [len(png_bytes(image)) for image in pixels[:8]]
    png = (time.perf_counter() - start) / len(encoded)
    return Measured(
        load=load,
        images=sum(n for _, n in spent),
        image=per_image[len(per_image) // 2],
        image_low=per_image[0],
        image_high=per_image[-1],
        decoder=sum(decoder) / total if decoder else None,
        screen=screen() if screen else None,
        graph=graph,
        graph_images=graph_images,
        png=png,
        png_bytes=sum(encoded) // len(encoded),
        image_shape=shape,
    )


def _sampled(
    sampler: Any, config: Config, prompts: Sequence[Entry], size: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield full batches of the run's own prompts, or batches of ``size``, each image on the host."""
    number, bits = 0, sampler_seed_bits(sampler)
    size = size or config.batch_size
    while True:
        ids = [(number + k) % len(prompts) for k in range(size)]
        requests = [
            _request(prompts, i, derive_seed(config.seed, i, number + k, bits=bits))
            for k, i in enumerate(ids)
        ]
        pixels = sampler.sample(requests).pixels
        number += size
        yield np.asarray(pixels.cpu() if hasattr(pixels, "cpu") else pixels)


def _request(prompts: Sequence[Entry], number: int, seed: int) -> Request:
    entry = prompts[number]
    return (
        Request(number, entry, seed) if isinstance(entry, str) else Request(number, entry[0], seed, entry[1])
    )


def _read(stored: StoredPrompts, config: Config) -> Iterator[NDArray[np.uint8]]:
    """Yield the stored prompts' readable images, again and again."""
    while True:
        any_read = False
        for prompt_id in range(len(stored.prompts)):
            for pixels, seeds, _, _ in stored.read(prompt_id):
                if len(seeds):
                    any_read = True
                    yield pixels
        if not any_read:
            raise ConfigError(f"images={config.images} holds no readable image to measure with")


def _timed(
    batches: Iterator[NDArray[np.uint8]], seconds: float, decoder: list[float]
) -> tuple[list[tuple[float, int]], NDArray[np.uint8]]:
    """Return (seconds, images) of each batch after the first one, which warms up, and the last pixels; at least two."""
    pixels = next(batches)
    decoder.clear()
    spent: list[tuple[float, int]] = []
    begin = time.perf_counter()
    while len(spent) < 2 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        pixels = next(batches)
        spent.append((time.perf_counter() - start, len(pixels)))
    return spent, pixels


def _timed_once(
    batches: Iterator[NDArray[np.uint8]],
) -> tuple[list[tuple[float, int]], NDArray[np.uint8]]:
    """Return (seconds, images) of one batch, and its pixels: images of a hosted model cost money."""
    start = time.perf_counter()
    pixels = next(batches)
    return [(time.perf_counter() - start, len(pixels))], pixels


@contextlib.contextmanager
def _decoder_watched(pipe: Any, seconds: list[float]) -> Iterator[None]:
    """Time each call of the pipeline's decoder, if it has one. On a GPU calls return early, so there it is not known."""
    vae = getattr(pipe, "vae", None)
    device = str(getattr(pipe, "device", "cpu"))
    if vae is None or not hasattr(vae, "decode") or device != "cpu":
        yield
        return
    decode = vae.decode

    def timed(*values: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return decode(*values, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    vae.decode = timed
    try:
        yield
    finally:
        del vae.decode


def _screening(sampler: Any, config: Config, prompts: Sequence[Entry]) -> Callable[[], float]:
    """Return what measures the seconds an image of one full batch of the screen, after one that warms up."""
    bits = sampler_seed_bits(sampler)
    requests = [
        _request(prompts, k % len(prompts), derive_seed(config.seed, k, 0, bits=bits))
        for k in range(config.batch_size)
    ]

    def seconds() -> float:
        sampler.first_step(requests, guidance_scale=config.screen_guidance)
        start = time.perf_counter()
        sampler.first_step(requests, guidance_scale=config.screen_guidance)
        return (time.perf_counter() - start) / len(requests)

    return seconds


def _graph_seconds(config: Config, shape: tuple[int, int, int]) -> tuple[float, int]:
    """Return the seconds of a prompt's distances and cliques, on different smooth images; pairs grow with the square."""
    count = min(config.generations, max(2, _GRAPH_BYTES // math.prod(shape)))
    rng = np.random.default_rng(0)
    height, width, channels = shape
    coarse = rng.integers(0, 256, (count, 4, 4, channels), dtype=np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    images = np.ascontiguousarray(coarse[:, rows][:, :, columns])
    start = time.perf_counter()
    graph = PromptGraph(
        shape,
        config.edges_up_to or config.threshold,
        grid=config.grid,
        min_clique=config.min_clique,
        channels="last",
        threads=1,
        capacity=count,
    )
    for first in range(0, count, config.batch_size):
        graph.extend(images[first : first + config.batch_size])
    graph.findings()
    seconds = time.perf_counter() - start
    return seconds * (config.generations / count) ** 2, count
