"""A shard's prompts from a sampler: batches that mix them, graphs that grow, budgets that end them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

from memcore.audit.in_flight import Graphs, Prompt, Stages, new_graph, on_host, side_by_side, start_graphs
from memcore.audit.screening import screen_prompts
from memcore.errors import MemcoreError, SamplerError
from memcore.runs.folder import RunFolder
from memcore.runs.rows import QuarantineRow
from memcore.sampling.batches import interleave
from memcore.sampling.protocol import Sampler, check_images
from memcore.system.credentials import redact
from memcore.types import Images, Request, StopReason


def sample_prompts(
    folder: RunFolder,
    todo: Sequence[int],
    sampler: Sampler,
    stages: Stages,
    quarantine: list[QuarantineRow],
    threads: int | None,
    tell: Callable[[int], None],
) -> Iterator[Prompt]:
    """Yields each prompt when its generations are complete. Batches mix prompts, so that they stay full."""
    config = folder.config
    alive: dict[int, Prompt] = {}
    graphs: Graphs | None = None  # made when it is known where the sampler's images stand
    failed: set[int] = set()
    with stages.timed("screen"):
        screened = screen_prompts(config, {i: folder.prompts[i] for i in todo}, sampler)
    for prompt_id in [i for i, s in screened.items() if s.out]:
        empty = new_graph(config, sampler.image_shape, threads)
        prompt = Prompt(prompt_id, folder.prompts[prompt_id], empty)
        prompt.stop, prompt.scores = StopReason.SCREENED, screened[prompt_id].scores
        tell(config.generations)
        yield prompt
    wanted = [i for i in todo if i not in screened or not screened[i].out]
    named = ((i, folder.prompts[i]) for i in wanted)
    batches = interleave(named, config.make_budget(), config.batch_size, run_seed=config.seed)
    for requests in batches:
        for part, images in _sample(sampler, requests, stages, quarantine, failed):
            if graphs is None:
                graphs = start_graphs(config, sampler.image_shape, images, threads)
            new = [i for i in side_by_side(part) if i not in alive]
            for prompt_id, graph in graphs.begin(new).items():
                alive[prompt_id] = Prompt(prompt_id, folder.prompts[prompt_id], graph)
                if prompt_id in screened:
                    alive[prompt_id].scores = screened[prompt_id].scores
            _extend(folder, alive, graphs, images, part, stages)
            del images
        tell(len(requests))
        for prompt_id in failed:
            batches.drop(prompt_id)
            if alive.pop(prompt_id, None) is not None and graphs is not None:
                graphs.drop(prompt_id)
        if graphs is None:
            continue
        due = batches.due()
        look = graphs.look(due)
        for prompt_id in due:
            with stages.timed("clique"):
                stop = batches.decide(prompt_id, functools.partial(look, prompt_id))
            if stop is not None:
                alive[prompt_id].stop = stop
                tell(config.generations - len(alive[prompt_id].seeds))
                yield alive.pop(prompt_id)
                graphs.drop(prompt_id)


def _extend(
    folder: RunFolder,
    alive: Mapping[int, Prompt],
    graphs: Graphs,
    images: Images,
    part: Sequence[Request],
    stages: Stages,
) -> None:
    """Adds a batch to the graphs of its prompts."""
    with stages.timed("graph"):
        graphs.extend(images, part)
    for request in part:
        alive[request.prompt_id].seeds.append(request.seed)
    if folder.config.keep == "all":
        for request, image in zip(part, images.pixels, strict=True):
            folder.write_image(request.prompt_id, request.seed, on_host(image))


def _sample(
    sampler: Sampler,
    requests: Sequence[Request],
    stages: Stages,
    quarantine: list[QuarantineRow],
    failed: set[int],
) -> Iterator[tuple[Sequence[Request], Images]]:
    """The batch's images; if it fails, each prompt's part on its own, and those that fail again are quarantined."""
    if not requests:
        return
    try:
        with stages.timed("sample"):
            images = _checked(sampler, requests)
    except SamplerError as error:
        first_error = error
    else:
        yield requests, images
        return
    prompt_ids = list(dict.fromkeys(r.prompt_id for r in requests))
    for prompt_id in prompt_ids:
        part = [r for r in requests if r.prompt_id == prompt_id]
        try:
            if len(prompt_ids) == 1:
                raise first_error
            with stages.timed("sample"):
                images = _checked(sampler, part)
        except SamplerError as error:
            failed.add(prompt_id)
            quarantine.append(
                {
                    "prompt_id": prompt_id,
                    "source": part[0].prompt,
                    "reason": "sampler",
                    "detail": redact(str(error)),
                }
            )
        else:
            yield part, images


def _checked(sampler: Sampler, requests: Sequence[Request]) -> Images:
    try:
        images = sampler.sample(requests)
    except MemcoreError:
        raise
    except Exception as error:
        raise SamplerError(f"the sampler raised {type(error).__name__}: {error}") from error
    check_images(images, requests, sampler.image_shape)
    return images
