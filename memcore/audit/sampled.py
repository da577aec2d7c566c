"""Sample a shard's prompts: batches mix them, graphs grow, and budgets end them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

from memcore.audit.context import ShardContext
from memcore.audit.in_flight import PromptInFlight, graph_settings, on_host
from memcore.errors import SamplerError
from memcore.graphs.growing import GraphSettings, GrowingGraphs, PromptRun
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.graphs.start import start_graphs
from memcore.sampling.batches import RequestBatch, interleave
from memcore.sampling.protocol import Sampler
from memcore.sampling.sample import sample_batch
from memcore.sampling.screen import Screened, screen_prompts
from memcore.sampling.seeds import sampler_seed_bits
from memcore.system.credentials import redact
from memcore.types import Images, StopReason


def sample_prompts(context: ShardContext, sampler: Sampler, todo: Sequence[int]) -> Iterator[PromptInFlight]:
    """Yield each prompt when its generations are complete. Batches mix prompts, so that they stay full."""
    config, names = context.config, context.folder.prompts
    screened = _screen(context, sampler, todo)
    settings = graph_settings(config, sampler.image_shape, context.threads)
    wanted = []
    for prompt_id in todo:
        if prompt_id in screened and screened[prompt_id].out:
            context.on_progress(config.generations)
            yield _screened_out(prompt_id, names[prompt_id], screened[prompt_id], settings)
        else:
            wanted.append(prompt_id)
    in_flight: dict[int, PromptInFlight] = {}
    graphs: GrowingGraphs | None = None  # made once it is known which device the sampler's images are on
    failed: set[int] = set()
    batches = interleave(
        ((i, names[i]) for i in wanted),
        config.make_budget(),
        config.batch_size,
        run_seed=config.seed,
        seed_bits=sampler_seed_bits(sampler),
    )
    while (batch := batches.next_batch()) is not None:
        for part, images in sample_batch(sampler, batch, context.stages.timed):
            if isinstance(images, SamplerError):
                run = part.runs[0]
                failed.add(run.prompt_id)
                context.quarantine(run.prompt_id, run.prompt, "sampler", redact(str(images)))
                continue
            first_of_run = graphs is None and 0 in todo
            if graphs is None:
                graphs = start_graphs(settings, images)
            runs = _begin(in_flight, graphs, part, screened)
            for note in context.watch.look(sampler, part, images, first=first_of_run):
                context.quarantine(*note)
            with context.stages.timed("graph"):
                graphs.extend(images, runs)
            if config.keep == "all":
                _write_images(context, part, images, in_flight)
            del images
        context.on_progress(len(batch))
        for prompt_id in failed:
            batches.drop(prompt_id)
            context.watch.drop(prompt_id)
            if in_flight.pop(prompt_id, None) is not None and graphs is not None:
                graphs.drop(prompt_id)
        if graphs is None:
            continue
        due = batches.awaiting_decision()
        bounds = graphs.bounds(due)  # one transfer for all of them, when the first answer is read
        for prompt_id in due:
            with context.stages.timed("clique"):
                stop = batches.decide(prompt_id, functools.partial(bounds, prompt_id))
            if stop is not None:
                in_flight[prompt_id].stop = stop
                context.on_progress(config.generations - len(in_flight[prompt_id].seeds))
                notes, nothing = context.watch.end(prompt_id)
                for note in notes:
                    context.quarantine(*note)
                prompt = in_flight.pop(prompt_id)
                if not nothing:  # else it has failed: the entry in the quarantine says why
                    yield prompt
                del prompt  # its images are the memory of a run
                graphs.drop(prompt_id)


def _screen(context: ShardContext, sampler: Sampler, todo: Sequence[int]) -> dict[int, Screened]:
    """Score the prompts, if the run has a screen; the seeds are those of each prompt's first images."""
    config = context.config
    if config.screen == "none":
        return {}
    with context.stages.timed("screen"):
        return screen_prompts(
            {i: context.folder.prompts[i] for i in todo},
            sampler,
            score=config.screen,
            threshold=config.screen_threshold,
            seeds=config.screen_seeds,
            guidance_scale=config.screen_guidance,
            batch_size=config.batch_size,
            run_seed=config.seed,
        )


def _screened_out(prompt_id: int, text: str, screened: Screened, settings: GraphSettings) -> PromptInFlight:
    """Return a prompt without an image, which a screen left out."""
    graphs = HostGrowingGraphs(settings)
    graphs.begin([prompt_id])
    return PromptInFlight(prompt_id, text, graphs, stop=StopReason.SCREENED, scores=screened.scores)


def _begin(
    in_flight: dict[int, PromptInFlight],
    graphs: GrowingGraphs,
    batch: RequestBatch,
    screened: Mapping[int, Screened],
) -> list[PromptRun]:
    """Begin the prompts that are new in a batch, note the seeds of all, and return where their images are in it."""
    new = [run for run in batch.runs if run.prompt_id not in in_flight]
    graphs.begin([run.prompt_id for run in new])
    for run in new:
        prompt = in_flight[run.prompt_id] = PromptInFlight(run.prompt_id, run.prompt, graphs)
        if run.prompt_id in screened:
            prompt.scores = screened[run.prompt_id].scores
    runs = []
    first = 0
    for prompt_id, _, seeds in batch.runs:
        runs.append(PromptRun(prompt_id, first, len(seeds)))
        first += len(seeds)
        in_flight[prompt_id].seeds += seeds.tolist()
    return runs


def _write_images(
    context: ShardContext, batch: RequestBatch, images: Images, in_flight: Mapping[int, PromptInFlight]
) -> None:
    """Write every image of a batch."""
    for request, image in zip(batch, images.pixels, strict=True):
        digest = context.folder.write_image(request.prompt_id, request.seed, on_host(image))
        in_flight[request.prompt_id].written[request.seed] = digest
