"""What of a prompt a pipeline's tokenizers do not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memcore.sampling.diffusers.call import Parameters


def describe_cut(
    components: Mapping[str, Any], parameters: Parameters, call: Mapping[str, Any], prompt: str
) -> str:
    """Return what is lost of a prompt that every tokenizer of the pipeline cuts; nothing if one reads it all."""
    cut = []
    for name, tokenizer in sorted(components.items()):
        if tokenizer is None or not name.startswith("tokenizer") or not callable(tokenizer):
            continue
        limit = int(getattr(tokenizer, "model_max_length", 0) or 0)
        if "max_sequence_length" in parameters and "CLIP" not in type(tokenizer).__name__:
            default = parameters["max_sequence_length"].default
            limit = min(limit, call.get("max_sequence_length", default))
        tokens = len(tokenizer(prompt, truncation=False, verbose=False)["input_ids"])
        if not limit or tokens <= limit:
            return ""
        cut.append((limit, tokens))
    if not cut:
        return ""
    limit, tokens = max(cut)
    return (
        f"the prompt has {tokens} tokens and the pipeline reads {limit}: the end of the prompt changes no image. "
        "Shorten it"
    )
