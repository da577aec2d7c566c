"""The worker: one shard's prompts sampled (or read), graphed, searched, and written. A pure function of its arguments.

Called twice it writes the same bytes twice; killed at any moment it leaves a shard that is not done, and maybe a
checkpoint of the prompts that are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.audit.findings import findings, largest_clique
from memcore.audit.prompt_graph import PromptGraph
from memcore.errors import ImagesChangedError, MemcoreError, SamplerError, StoreError
from memcore.images import UnreadableImage
from memcore.jobs.config import Config
from memcore.jobs.schemas import pairs_array
from memcore.jobs.screening import screen_prompts
from memcore.jobs.secrets import redact
from memcore.jobs.store import RunFolder, Shard, ShardRecord
from memcore.jobs.stored import StoredPrompts
from memcore.sampling.batches import interleave
from memcore.sampling.first_step import SCORES
from memcore.sampling.protocol import Sampler, check_images
from memcore.types import Finding, Graph, Images, PromptStatus, Request, StopReason

Progress = Callable[[int], None]
#: Nodes of a clique search at a look. A search that needs more is not proven there, and its prompt goes on.
LOOK_NODES = 100_000
#: Images that a prompt which will probably stop early gets room for at first.
ROOM = 64
#: What a kill costs at most, but for the prompts at work.
CHECKPOINT_SECONDS = 60.0


@dataclasses.dataclass
class _Prompt:
    """A prompt at work: its graph and the seeds of its generations so far."""

    prompt_id: int
    prompt: str
    graph: PromptGraph
    seeds: list[int] = dataclasses.field(default_factory=list)
    stop: StopReason = StopReason.ALL
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def within(self, threshold: float) -> Graph:
        """Its graph at the run's threshold; the stored one may reach further."""
        return self.graph.graph().within(threshold)


class _Stages:
    """Seconds spent in each stage of a shard."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        for stage in ("screen", "sample", "graph", "clique", "write"):
            seconds.setdefault(stage, 0.0)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def run_shard(
    folder: RunFolder,
    shard: Shard,
    sampler: Sampler | None,
    *,
    stored: StoredPrompts | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """Does one shard and writes it. Exactly one of ``sampler`` and ``stored`` gives the generations.

    ``progress`` is told the number of generations done or, where a prompt stopped early, spared. What cannot be sampled or
    read is quarantined with a reason.
    Finished prompts are written to the shard's checkpoint from time to time, and when the shard is interrupted or fails,
    so that whoever does it next goes on from there. Returns counts: prompts, generated, findings, failed.
    """
    record = folder.read_partial(shard)
    resumed = record.generated
    stages = _Stages(record.seconds)
    tell = progress or (lambda count: None)
    finished = {int(row["prompt_id"]) for row in record.rows} | _failed(record)
    tell(resumed if stored is not None else folder.config.generations * len(finished))
    todo = [i for i in shard.prompt_ids if i not in finished]
    if stored is not None:
        source = _read_prompts(folder, todo, stored, stages, record.quarantine, threads, tell)
    else:
        assert sampler is not None
        source = _sample_prompts(folder, todo, sampler, stages, record.quarantine, threads, tell)
    saved = time.monotonic()
    try:
        # map, since no name may hold on to a prompt when the next is begun: its images are the memory of a run
        for row in map(functools.partial(_finish, folder, stages), source):
            record.rows.append(row)
            if time.monotonic() - saved >= checkpoint_seconds:
                _checkpoint(folder, shard, record)
                saved = time.monotonic()
    except StoreError:
        raise
    except BaseException:
        _checkpoint(folder, shard, record)
        raise
    complete(folder, shard, record, "empty")
    folder.write_shard(shard, record)
    return {
        "prompts": len(record.rows),
        "generated": record.generated - resumed,
        "findings": sum(row["status"] == PromptStatus.FINDING for row in record.rows),
        "failed": sum(row["status"] == PromptStatus.FAILED for row in record.rows),
    }


def give_up_shard(folder: RunFolder, shard: Shard, reason: str, detail: str) -> None:
    """Writes a shard that failed too often: what its checkpoint holds stays, its other prompts are failed.

    ``reason`` is the code and ``detail`` the traceback that stand in the quarantine.
    """
    record = folder.read_partial(shard)
    complete(folder, shard, record, reason)
    record.quarantine.append(
        {"prompt_id": None, "source": f"shard {shard.id}", "reason": reason, "detail": redact(detail)}
    )
    folder.write_shard(shard, record, given_up=True)


def complete(folder: RunFolder, shard: Shard, record: ShardRecord, reason: str) -> None:
    """Adds a failed row for every prompt of the shard that has none, and puts all in order."""
    missing = set(shard.prompt_ids) - {int(row["prompt_id"]) for row in record.rows}
    reasons = {int(q["prompt_id"]): str(q["reason"]) for q in record.quarantine if q["prompt_id"] is not None}
    record.rows.extend(_failed_row(i, folder.prompts[i], reasons.get(i, reason)) for i in sorted(missing))
    record.rows.sort(key=lambda row: int(row["prompt_id"]))
    record.quarantine.sort(key=lambda q: -1 if q["prompt_id"] is None else int(q["prompt_id"]))


def _failed(record: ShardRecord) -> set[int]:
    """Prompts that the sampler refused: their rows are made when the shard is complete."""
    return {int(q["prompt_id"]) for q in record.quarantine if q["reason"] == "sampler"}


def _checkpoint(folder: RunFolder, shard: Shard, record: ShardRecord) -> None:
    """Only finished prompts are kept, and of the quarantine what belongs to them: the others are done again."""
    finished = {int(row["prompt_id"]) for row in record.rows} | _failed(record)
    if finished:
        quarantine = [q for q in record.quarantine if q["prompt_id"] in finished]
        folder.write_partial(shard, dataclasses.replace(record, quarantine=quarantine))


def _new_prompt(
    config: Config,
    prompt_id: int,
    prompt: str,
    shape: tuple[int, int, int],
    threads: int | None,
    **images_in: Any,
) -> _Prompt:
    graph = PromptGraph(
        shape,
        config.edges_up_to or config.threshold,
        grid=config.grid,
        min_clique=config.min_clique,
        node_limit=config.node_limit,
        channels="last",
        threads=threads,
        capacity=min(config.generations, ROOM) if config.budget == "sequential" else config.generations,
        **images_in,
    )
    return _Prompt(prompt_id, prompt, graph)


def _sample_prompts(
    folder: RunFolder,
    todo: Sequence[int],
    sampler: Sampler,
    stages: _Stages,
    quarantine: list[dict[str, Any]],
    threads: int | None,
    tell: Progress,
) -> Iterator[_Prompt]:
    """Yields each prompt when its generations are complete. Batches mix prompts, so that they stay full."""
    config = folder.config
    alive: dict[int, _Prompt] = {}
    failed: set[int] = set()
    with stages.timed("screen"):
        screened = screen_prompts(config, {i: folder.prompts[i] for i in todo}, sampler)
    for prompt_id in [i for i, s in screened.items() if s.out]:
        prompt = _new_prompt(config, prompt_id, folder.prompts[prompt_id], sampler.image_shape, threads)
        prompt.stop, prompt.scores = StopReason.SCREENED, screened[prompt_id].scores
        tell(config.generations)
        yield prompt
    wanted = [i for i in todo if i not in screened or not screened[i].out]
    named = ((i, folder.prompts[i]) for i in wanted)
    batches = interleave(named, config.make_budget(), config.batch_size, run_seed=config.seed)
    for requests in batches:
        for part, images in _sample(sampler, requests, stages, quarantine, failed):
            for prompt_id in dict.fromkeys(r.prompt_id for r in part):
                if prompt_id not in alive:
                    text = folder.prompts[prompt_id]
                    alive[prompt_id] = _new_prompt(config, prompt_id, text, sampler.image_shape, threads)
                    if prompt_id in screened:
                        alive[prompt_id].scores = screened[prompt_id].scores
                _extend(folder, alive[prompt_id], images, part, stages)
            del images
        tell(len(requests))
        for prompt_id in failed:
            alive.pop(prompt_id, None)
            batches.drop(prompt_id)
        for prompt_id in batches.due():
            with stages.timed("clique"):
                stop = batches.decide(prompt_id, functools.partial(_largest, config, alive[prompt_id]))
            if stop is not None:
                alive[prompt_id].stop = stop
                tell(config.generations - len(alive[prompt_id].seeds))
                yield alive.pop(prompt_id)


def _largest(config: Config, prompt: _Prompt) -> tuple[int, int]:
    """Bounds of the prompt's largest clique so far, for its budget."""
    return largest_clique(prompt.within(config.threshold), node_limit=min(config.node_limit, LOOK_NODES))


def _sample(
    sampler: Sampler,
    requests: Sequence[Request],
    stages: _Stages,
    quarantine: list[dict[str, Any]],
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


def _extend(
    folder: RunFolder, prompt: _Prompt, images: Images, part: Sequence[Request], stages: _Stages
) -> None:
    """Adds the prompt's images of a batch, which stand side by side in it."""
    where = [n for n, r in enumerate(part) if r.prompt_id == prompt.prompt_id]
    pixels = images.pixels[where[0] : where[-1] + 1]
    with stages.timed("graph"):
        prompt.graph.extend(pixels, exclude=np.asarray(images.flagged)[where])
    prompt.seeds.extend(part[n].seed for n in where)
    if folder.config.keep == "all":
        for n, image in zip(where, pixels, strict=True):
            folder.write_image(prompt.prompt_id, part[n].seed, _on_host(image))


def _read_prompts(
    folder: RunFolder,
    todo: Sequence[int],
    stored: StoredPrompts,
    stages: _Stages,
    quarantine: list[dict[str, Any]],
    threads: int | None,
    tell: Progress,
) -> Iterator[_Prompt]:
    """The same from stored generations, a batch of images at a time."""
    for prompt_id in todo:
        text = folder.prompts[prompt_id]
        prompt = _new_prompt(
            folder.config, prompt_id, text, stored.image_shape, threads, **stored.images_in(prompt_id)
        )
        for seeds, broken in stored.feed(prompt_id, prompt.graph, stages.timed):
            quarantine.extend({"prompt_id": prompt_id, **entry} for entry in broken)
            prompt.seeds.extend(seeds)
            tell(len(seeds) + len(broken))
        if not prompt.seeds:
            continue
        try:
            with stages.timed("graph"):
                prompt.graph.graph()
        except (ImagesChangedError, UnreadableImage) as error:
            reason = getattr(error, "reason", "changed")
            source = stored.label(prompt_id)
            quarantine.append(
                {"prompt_id": prompt_id, "source": source, "reason": reason, "detail": str(error)}
            )
        else:
            yield prompt


def _finish(folder: RunFolder, stages: _Stages, prompt: _Prompt) -> dict[str, Any]:
    """The prompt's row; the members of its cliques are written as PNG."""
    with stages.timed("clique"):
        config = folder.config
        graph = prompt.within(config.threshold)
        found: list[Finding] = findings(graph, config.min_clique, node_limit=config.node_limit)
    seeds = prompt.seeds
    cliques = [
        {
            "seeds": [seeds[m] for m in f.members],
            "mean_distance": f.mean_distance,
            "medoid_seed": seeds[f.medoid],
            "proven": f.proven,
            "upper": f.upper,
        }
        for f in found
    ]
    if folder.config.keep == "findings":
        for finding in found:
            for member in finding.members:
                with stages.timed("write"):
                    folder.write_image(prompt.prompt_id, seeds[member], prompt.graph.pixels(member))
    first = cliques[0] if cliques else None
    return {
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.prompt,
        "status": _status(prompt, bool(first)),
        "generated": prompt.graph.n,
        "excluded": prompt.graph.excluded,
        "edges": len(graph),
        "size": found[0].size if found else 0,
        "mean_distance": first["mean_distance"] if first else None,
        "medoid_seed": first["medoid_seed"] if first else None,
        "seeds": first["seeds"] if first else [],
        "proven": first["proven"] if first else True,
        "upper": first["upper"] if first else folder.config.min_clique - 1,
        "cliques": cliques,
        "stop": prompt.stop,
        **{name: prompt.scores.get(name) for name in SCORES},
        "tile_bytes": prompt.graph.tile_bytes if folder.config.edges_up_to else None,
        "pairs": _pairs(prompt.graph.graph()) if folder.config.edges_up_to else None,
        "reason": None,
    }


def _status(prompt: _Prompt, found: bool) -> PromptStatus:
    if prompt.stop == StopReason.SCREENED:
        return PromptStatus.SCREENED
    return PromptStatus.FINDING if found else PromptStatus.NONE


def _pairs(graph: Graph) -> Any:
    """All edges of the widest graph, for other thresholds later."""
    assert graph.ssd is not None
    return pairs_array(graph.edges, graph.ssd)


def _failed_row(prompt_id: int, prompt: str, reason: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"generated": 0, "excluded": 0, "edges": 0, "size": 0, "seeds": [], "cliques": []}
    return {
        "prompt_id": prompt_id,
        "prompt": prompt,
        "status": PromptStatus.FAILED,
        "mean_distance": None,
        "medoid_seed": None,
        "proven": False,
        "upper": 0,
        "stop": None,
        "reason": reason,
        **empty,
    }


def _on_host(image: Any) -> NDArray[np.uint8]:
    return np.asarray(image.cpu() if hasattr(image, "cpu") else image)
