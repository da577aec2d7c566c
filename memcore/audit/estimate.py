"""What a run will cost, extrapolated from a few seconds of its own work on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.audit.source import make_source
from memcore.errors import ArgumentValueError, ConfigError
from memcore.graphs.prompt_graph import PromptGraph
from memcore.runs.config import Config
from memcore.runs.folder import shard_size
from memcore.runs.schema import png_bytes
from memcore.sampling.boundary import outcome
from memcore.sampling.budget import Sequential
from memcore.sampling.seeds import derive_seed
from memcore.sources.stored import StoredPrompts
from memcore.types import Request

#: Share of prompts that are memorised where nothing is known: the paper's 94 of 350,000.
MEMORISED = 94 / 350_000
#: Bytes of images that the graph is measured on at most; more are extrapolated.
_GRAPH_BYTES = 128 << 20
#: Seconds until a Ray cluster of this machine takes tasks; measured once, docs/scale.md.
RAY_START_SECONDS = 5.0
#: Bytes of a prompt's row in the findings besides its text, and of a finding's.
_ROW_BYTES, _FINDING_BYTES = 40, 600


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


def measure(config: Config, prompts: Sequence[str], *, seconds: float = 5.0) -> Measured:
    """Loads what the configuration names and works for about ``seconds`` after a warm-up.

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
    if isinstance(source, StoredPrompts):
        batches = _read(source, config)
    else:
        batches = _sampled(source, config, prompts)
        watched = _decoder_watched(getattr(source, "_pipe", None), decoder)
        if config.screen != "none":
            screen = _screening(source, config, prompts)
    with watched:
        spent, pixels = _timed(batches, seconds, decoder)
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


def _sampled(sampler: Any, config: Config, prompts: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Full batches of the run's own prompts, each image on the host."""
    number = 0
    while True:
        ids = [(number + k) % len(prompts) for k in range(config.batch_size)]
        requests = [
            Request(i, prompts[i], derive_seed(config.seed, i, number + k)) for k, i in enumerate(ids)
        ]
        pixels = sampler.sample(requests).pixels
        number += config.batch_size
        yield np.asarray(pixels.cpu() if hasattr(pixels, "cpu") else pixels)


def _read(stored: StoredPrompts, config: Config) -> Iterator[NDArray[np.uint8]]:
    """The stored prompts' readable images, over and over."""
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
    """(seconds, images) of each batch after the first one, which warms up, and the last pixels; at least two."""
    pixels = next(batches)
    decoder.clear()
    spent: list[tuple[float, int]] = []
    begin = time.perf_counter()
    while len(spent) < 2 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        pixels = next(batches)
        spent.append((time.perf_counter() - start, len(pixels)))
    return spent, pixels


@contextlib.contextmanager
def _decoder_watched(pipe: Any, seconds: list[float]) -> Iterator[None]:
    """Times each call of the pipeline's decoder, where it has one. On a GPU calls return early, so there it is not known."""
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


def _screening(sampler: Any, config: Config, prompts: Sequence[str]) -> Callable[[], float]:
    """Seconds an image of one full batch of the screen, after one that warms up."""
    requests = [
        Request(k, prompts[k % len(prompts)], derive_seed(config.seed, k, 0))
        for k in range(config.batch_size)
    ]

    def seconds() -> float:
        sampler.first_step(requests, guidance_scale=config.screen_guidance)
        start = time.perf_counter()
        sampler.first_step(requests, guidance_scale=config.screen_guidance)
        return (time.perf_counter() - start) / len(requests)

    return seconds


def _graph_seconds(config: Config, shape: tuple[int, int, int]) -> tuple[float, int]:
    """Seconds for a prompt's distances and cliques, on different smooth images; pairs grow with the square."""
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


def estimate(
    config: Config,
    prompts: Sequence[str],
    measured: Measured,
    *,
    workers: int,
    machines: int = 1,
    price: float | None = None,
    memorised: float = MEMORISED,
    images: int | None = None,
) -> dict[str, Any]:
    """Hours, bytes, files and cost of the whole run, with the fixed budget and with the sequential one.

    ``workers`` a machine; ``price`` of a machine for an hour; ``memorised`` the share of prompts with a clique. ``images``
    is the number stored, where nothing is sampled. Memorised prompts are taken to be at the copy rate, which takes longest.
    """
    for name, value in (("workers", workers), ("machines", machines)):
        if value < 1:
            raise ArgumentValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= memorised <= 1:
        raise ArgumentValueError(f"memorised must lie between 0 and 1, got {memorised}")
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ArgumentValueError(f"price must be at least 0, got {price}")
    count = len(prompts)
    rule = Sequential(config.copy_rate, config.miss_rate, config.generations, config.min_clique)
    most = float(config.generations) if images is None else images / count
    budgets = {"fixed": most}
    if config.source != "stored":
        budgets["sequential"] = _sequential_images(rule, memorised)
    result: dict[str, Any] = {
        "prompts": count,
        "configured": config.budget,
        "measured": dataclasses.asdict(measured),
        "assumed": {"memorised": memorised, "workers": workers, "machines": machines, "price": price},
        "budgets": {},
    }
    for name, per_prompt in budgets.items():
        work, stages = _work(config, measured, count, per_prompt, memorised)
        low = work + count * per_prompt * (measured.image_low - measured.image)
        high = work + count * per_prompt * (measured.image_high - measured.image)
        result["budgets"][name] = {
            "images": round(count * per_prompt),
            "saved": 1 - per_prompt / most,
            "worker_hours": work / 3600,
            "worker_hours_low": low / 3600,
            "worker_hours_high": high / 3600,
            "stages_hours": {stage: seconds / 3600 for stage, seconds in stages.items()},
            **_stored(config, measured, prompts, per_prompt, memorised),
            "launchers": _launchers(work, measured, workers, machines, price),
        }
    return result


def _sequential_images(rule: Sequential, memorised: float) -> float:
    """Expected images a prompt; a prompt without copies needs as many as the first stop, and copies at most the worst."""
    without = rule.boundary.stop_at(1) or rule.generations
    worst = float(outcome(rule.boundary, Fraction(str(rule.copy_rate))).images) + rule.look_every
    return (1 - memorised) * without + memorised * min(float(rule.generations), worst)


def _work(
    config: Config, measured: Measured, count: int, per_prompt: float, memorised: float
) -> tuple[float, dict[str, float]]:
    """Seconds of one worker for everything, and by stage."""
    verb = "read" if config.source == "stored" else "sample"
    written = per_prompt if config.keep == "all" else memorised * config.min_clique
    stages = {
        verb: count * per_prompt * measured.image,
        # fewer images have fewer pairs: in proportion is an upper bound
        "graph": count * measured.graph * min(1.0, per_prompt / config.generations),
        "write": count * written * measured.png,
    }
    if measured.screen is not None:
        stages["screen"] = count * config.screen_seeds * measured.screen
    return sum(stages.values()), stages


def _stored(
    config: Config, measured: Measured, prompts: Sequence[str], per_prompt: float, memorised: float
) -> dict[str, Any]:
    """Files and bytes of the run's folder."""
    count = len(prompts)
    shards = shard_count(config, count)
    pictures = count * (per_prompt if config.keep == "all" else memorised * config.min_clique)
    text = _text_bytes(prompts)
    rows = 2 * text + count * _ROW_BYTES + count * memorised * _FINDING_BYTES
    return {
        "shards": shards,
        "files": round(2 * shards + 2 + pictures),
        "bytes": round(rows + 500 * shards + pictures * measured.png_bytes),
    }


def shard_count(config: Config, prompts: int) -> int:
    """Shards that the run is cut into."""
    return -(-prompts // shard_size(config, prompts))


def _text_bytes(prompts: Sequence[str]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": list(prompts)}), sink, compression="zstd")
    return len(sink.getvalue())


def _launchers(
    work: float, measured: Measured, workers: int, machines: int, price: float | None
) -> dict[str, dict[str, Any]]:
    """Wall hours and cost for each way to start the run; every worker loads the model once."""
    plans = {"local": (1, 0.0), "ray": (machines, RAY_START_SECONDS), "slurm": (machines, 0.0)}
    result = {}
    for name, (used, start) in plans.items():
        hours = (start + measured.load + work / (used * workers)) / 3600
        cost = None if price is None else hours * used * price
        result[name] = {"machines": used, "workers": used * workers, "hours": hours, "cost": cost}
    return result
