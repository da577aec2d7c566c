"""Sample a shard's prompts: batches mix them, graphs grow, and budgets end them."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.audit.context import ShardContext
from memcore.audit.failures import Failures
from memcore.audit.given_images import REASON, find_near
from memcore.audit.in_flight import GIVEN, PromptInFlight, count_near, graph_settings, join_flags, on_host
from memcore.audit.resumed import SampledPart, take_or_sample
from memcore.errors import SamplerError
from memcore.graphs.growing import GraphSettings, GrowingGraphs, PromptRun
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.graphs.start import start_graphs
from memcore.sampling.batches import RequestBatch, interleave
from memcore.sampling.protocol import Sampler
from memcore.sampling.screen import Screened, screen_prompts
from memcore.sampling.seeds import sampler_seed_bits
from memcore.sampling.watch import copy_images
from memcore.system.units import count
from memcore.types import Images, StopReason


def sample_prompts(context: ShardContext, sampler: Sampler, todo: Sequence[int]) -> Iterator[PromptInFlight]:
    """Yield each prompt when its generations are complete. Batches mix prompts, so that they stay full."""
    names, spared = context.folder.prompts, context.config.generations
    screened = _screen(context, sampler, todo)
    settings = graph_settings(context.config, sampler.image_shape, context.threads)
    wanted = []
    for prompt_id in todo:
        if prompt_id in screened and screened[prompt_id].out:
            context.on_progress(spared=spared)
            yield _screened_out(prompt_id, names[prompt_id], screened[prompt_id], settings)
        else:
            wanted.append(prompt_id)
    yield from _Sampling(context, sampler, settings, wanted, screened, first=0 in todo).prompts()


class _Sampling:
    """The sampling of a shard's prompts. ``first``: of the whole run."""

    def __init__(
        self,
        context: ShardContext,
        sampler: Sampler,
        settings: GraphSettings,
        wanted: Sequence[int],
        screened: Mapping[int, Screened],
        *,
        first: bool,
    ) -> None:
        config, names = context.config, context.folder.prompts
        self._context = context
        self._sampler = sampler
        self._settings = settings
        self._screened = screened
        self._first = first
        for prompt_id in wanted:  # a try at this shard that failed has counted some of their images
            context.watch.drop(prompt_id)
        self._failures = Failures(context, sampler)
        self._in_flight = context.saver.in_flight
        self._graphs: GrowingGraphs | None = None  # made once the device of the sampler's images is known
        self._batches = interleave(
            ((i, names[i]) for i in wanted),
            config.make_budget(),
            config.batch_size,
            run_seed=config.seed,
            seed_bits=sampler_seed_bits(sampler),
            conditions=context.folder.condition,
        )
        self._masks_hide = getattr(sampler, "masks_hide", False) is True

    def prompts(self) -> Iterator[PromptInFlight]:
        """Yield each prompt when its generations are complete."""
        context = self._context
        journal = context.saver.journal
        assert journal is not None
        while (batch := self._batches.next_batch()) is not None:
            begun = start = time.monotonic()
            # no name may keep images while the next ones are made
            for part in take_or_sample(journal, self._sampler, batch, context.stages.timed):
                if isinstance(part.images, SamplerError):
                    self._fail(part.batch, part.images)
                else:
                    self._add(part, time.monotonic() - start)
                    start = time.monotonic()
                del part
            seconds = time.monotonic() - begun
            self._failures.check()
            yield from self._decide()
            context.saver.save_if_due(ahead=seconds)
        self._failures.check(at_end=True)

    def _fail(self, part: RequestBatch, error: SamplerError) -> None:
        """Leave out a prompt that the sampler refuses."""
        run = part.runs[0]
        self._failures.add(run, error)
        self._batches.drop(run.prompt_id)
        self._context.watch.drop(run.prompt_id)
        prompt = self._in_flight.pop(run.prompt_id, None)
        made = 0 if prompt is None else len(prompt.seeds)
        self._context.on_progress(spared=self._context.config.generations - made)
        if prompt is not None and self._graphs is not None:
            self._graphs.drop(run.prompt_id)

    def _add(self, part: SampledPart, seconds: float) -> None:
        """Add a part's images to the graphs of their prompts; those that were not kept were made in ``seconds``."""
        context, batch, images, kept = self._context, part.batch, part.images, part.kept
        assert not isinstance(images, SamplerError)
        fresh = len(kept) - int(np.count_nonzero(kept))
        if fresh:
            self._failures.succeeded(batch)
        first_of_run = self._graphs is None and self._first
        if self._graphs is None:
            self._graphs = start_graphs(self._settings, images)
            context.saver.device = str(images.pixels.device) if arrays.is_torch(images.pixels) else ""
        runs = _begin(self._in_flight, self._graphs, batch, self._screened)
        if context.watch.asks_again(self._sampler, len(batch), first=first_of_run):
            images = copy_images(images)  # the sampler may write over its answer when it is asked again
        for note in context.watch.look(self._sampler, batch, images, first=first_of_run):
            context.quarantine(*note)
        conditioned = any(run.condition is not None for run in batch.runs)
        near = self._find_near(part, images) if conditioned else None
        if near is not None:
            images = Images(images.pixels, images.flagged | near, images.broken)
        with context.stages.timed("graph"):
            self._graphs.extend(images, runs)
        if context.config.keep == "all":
            _write_images(context, part, images, self._in_flight)
        flags = join_flags(images.flagged, images.broken)
        if near is not None:
            flags[near] = GIVEN
        for prompt_id, start, images_of_it in runs:
            rows = slice(start, start + images_of_it)
            known = kept[rows] if fresh < len(batch) else None
            made = images_of_it if known is None else images_of_it - int(known.sum())
            self._in_flight[prompt_id].added(flags[rows], known, seconds * made / max(1, fresh))
        context.on_progress(fresh, kept=len(batch) - fresh)

    def _find_near(self, part: SampledPart, images: Images) -> NDArray[np.bool_] | None:
        """Return (N,) which images are near the one that they were made from; None where none are made from one."""
        near = find_near(part.batch, images.pixels, self._context.config, masks_hide=self._masks_hide)
        if near is None:
            return None
        near &= ~images.flagged
        return near if part.given is None else near | part.given

    def _decide(self) -> Iterator[PromptInFlight]:
        """Yield the prompts that get no more images."""
        graphs, context = self._graphs, self._context
        if graphs is None:
            return
        due = self._batches.awaiting_decision()
        bounds = graphs.bounds(due)  # one transfer for all of them, when the first answer is read
        for prompt_id in due:
            with context.stages.timed("clique"):
                stop = self._batches.decide(prompt_id, functools.partial(bounds, prompt_id))
            if stop is None:
                continue
            prompt = self._in_flight[prompt_id]
            prompt.stop = stop
            if spared := context.config.generations - len(prompt.seeds):
                context.on_progress(spared=spared)
            notes, nothing = context.watch.end(prompt_id)
            for note in notes:
                context.quarantine(*note)
            if near := count_near(prompt):
                text = (
                    f"{near:,} of {count(len(prompt.seeds), 'generation')} within {context.config.threshold:g} of the "
                    "image that they were made from: left out, since they repeat what was given"
                )
                context.quarantine(prompt_id, prompt.prompt, REASON, text)
            if not nothing:  # else it has failed: the entry in the quarantine says why
                yield prompt
            del prompt  # its images are the memory of a run
            self._in_flight.pop(prompt_id, None)
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
            conditions=context.folder.condition,
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
    for run in batch.runs:
        runs.append(PromptRun(run.prompt_id, first, len(run.seeds)))
        first += len(run.seeds)
        in_flight[run.prompt_id].seeds += run.seeds.tolist()
    return runs


def _write_images(
    context: ShardContext, part: SampledPart, images: Images, in_flight: Mapping[int, PromptInFlight]
) -> None:
    """Write every image of a batch but those that were kept: they were written before that."""
    for request, image in zip(part.batch, images.pixels, strict=True):
        digest = part.files.get((request.prompt_id, request.seed))
        if digest is None:
            digest = context.folder.write_image(request.prompt_id, request.seed, on_host(image))
        in_flight[request.prompt_id].written[request.seed] = digest
