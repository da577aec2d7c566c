"""Read a shard's prompts from stored generations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memcore.audit.context import ShardContext
from memcore.audit.in_flight import PromptInFlight, graph_settings
from memcore.errors import ImagesChangedError
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.images import UnreadableImage
from memcore.sources.by_prompt import StoredPrompts


def read_prompts(
    context: ShardContext, stored: StoredPrompts, todo: Sequence[int]
) -> Iterator[PromptInFlight]:
    """Yield each prompt once its images are read, a batch of images at a time."""
    graphs = HostGrowingGraphs(graph_settings(context.config, stored.image_shape, context.threads))
    for prompt_id in todo:
        graph = graphs.begin_one(prompt_id, **stored.images_in(prompt_id))
        prompt = PromptInFlight(prompt_id, context.folder.prompts[prompt_id], graphs)
        for seeds, broken in stored.feed(prompt_id, graph, context.stages.timed):
            for entry in broken:
                context.quarantine(prompt_id, entry["source"], entry["reason"], entry["detail"])
            prompt.seeds.extend(seeds)
            context.on_progress(len(seeds), spared=len(broken))
        try:
            if prompt.seeds:
                with context.stages.timed("graph"):
                    graph.graph()
        except (ImagesChangedError, UnreadableImage) as error:
            reason = getattr(error, "reason", "changed")
            context.quarantine(prompt_id, stored.label(prompt_id), reason, str(error))
        else:
            if prompt.seeds:
                yield prompt
        del graph, prompt  # freed before the next prompt: a prompt's images are the memory of a run
        graphs.drop(prompt_id)
