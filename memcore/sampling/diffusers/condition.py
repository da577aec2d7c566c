"""The conditions of requests as a diffusers pipeline takes them: labels, given images and masks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from memcore.conditions import Condition
from memcore.errors import SamplerError
from memcore.sampling.diffusers.call import CONDITION_ARGUMENTS, needed_conditions, taken_conditions
from memcore.types import Request


class PipelineConditions:
    """What a pipeline takes besides prompts, and how a batch's conditions are handed to it.

    ``takes`` and ``needs`` are of label, image and mask. A UNet with classes in a pipeline that does not know of them (DDPM,
    DDIM) gets its labels directly.
    """

    def __init__(self, pipe: Any, parameters: Mapping[str, Any]) -> None:
        self._pipe = pipe
        self._name = type(pipe).__name__
        takes, needs = set(taken_conditions(parameters)), set(needed_conditions(parameters))
        unet = getattr(pipe, "unet", None)
        of_unet = getattr(getattr(unet, "config", None), "num_class_embeds", None)
        transformer = getattr(getattr(pipe, "transformer", None), "config", None)
        self._classes: int | None = of_unet or getattr(transformer, "num_embeds_ada_norm", None)
        self._direct = bool(of_unet) and not takes & {"label", "image"} and "prompt" not in parameters
        if self._direct or ("label" in takes and "prompt" not in parameters and self._classes):
            takes, needs = takes | {"label"}, needs | {"label"}
        elif "label" in takes - needs:  # of a model without classes
            takes -= {"label"}
        self.takes = tuple(kind for kind in CONDITION_ARGUMENTS if kind in takes)
        self.needs = tuple(kind for kind in CONDITION_ARGUMENTS if kind in needs)

    def probe(self, height: int | None, width: int | None) -> Condition | None:
        """Return a condition to see an image with: class 0, a grey image, all of it repainted."""
        if not self.needs:
            return None
        size = (height or 0, width or 0)
        return Condition(
            0 if "label" in self.needs else None,
            np.full((*size, 3), 128, np.uint8) if "image" in self.needs else None,
            np.full(size, 255, np.uint8) if "mask" in self.needs else None,
        )

    def arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the call's arguments for a batch. Raises SamplerError for a request that lacks something."""
        arguments: dict[str, Any] = {}
        for kind in self._given(requests):
            values = [self._value(request, kind) for request in requests]
            if kind != "label" or not self._direct:
                arguments[CONDITION_ARGUMENTS[kind]] = values
        return arguments

    @contextlib.contextmanager
    def labelled(self, requests: Sequence[Request]) -> Iterator[None]:
        """Give a batch's labels to the UNet itself, where the pipeline does not."""
        if not self._direct:
            yield
            return
        labels = torch.tensor([self._label(request) for request in requests], device=self._pipe.unet.device)

        def add(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**kwargs, "class_labels": labels}

        hook = self._pipe.unet.register_forward_pre_hook(add, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _given(self, requests: Sequence[Request]) -> list[str]:
        """Return the kinds that a batch has: what is needed, and what else its requests bring."""
        brought = {kind for r in requests if r.condition is not None for kind in r.condition.kinds()}
        if left := brought - set(self.takes):
            raise SamplerError(f"{self._name} takes no {min(left)}: its images would not depend on it")
        return [kind for kind in self.takes if kind in brought or kind in self.needs]

    def _value(self, request: Request, kind: str) -> Any:
        if kind == "label":
            return self._label(request)
        pixels = getattr(request.condition, kind, None)
        if pixels is None:
            raise SamplerError(
                f"{self._name} needs the {kind} that prompt {request.prompt_id} is made from, and there is none"
            )
        import PIL.Image

        return PIL.Image.fromarray(np.array(pixels))

    def _label(self, request: Request) -> int:
        """Return a request's class: that of its condition, or what its prompt says, as a number or a name."""
        label = request.condition.label if request.condition is not None else None
        if label is None:
            text = request.prompt.strip()
            digits = text.removeprefix("label ")
            names: Mapping[str, int] = getattr(self._pipe, "labels", None) or {}
            label = int(digits) if digits.isascii() and digits.isdecimal() else names.get(text)
        if label is None:
            raise SamplerError(
                f"{self._name} makes images of classes, and the prompt {request.prompt!r} names none: give the number "
                "of a class"
            )
        if self._classes is not None and label >= self._classes:
            raise SamplerError(f"{self._name} has classes 0 to {self._classes - 1}, got label {label}")
        return label
