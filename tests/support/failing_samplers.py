"""Samplers that fail as those of people do, by name: ``tests.support.failing_samplers:Failing`` with the option ``kind``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memcore.types import Images, Request

SHAPE = (16, 16, 3)


class SilentError(Exception):
    """An error whose message cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


def _recurse() -> None:
    _recurse()


def _raise(error: BaseException) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


#: What is done in place of the images of "a hill".
ENDS: dict[str, Callable[[], Any]] = {
    "error": _raise(ValueError("no")),
    "foreign letters": _raise(ValueError("caf\udce9 \ud800")),
    "long message": _raise(ValueError("x" * 2_000_000)),
    "no message": _raise(SilentError()),
    "sys.exit": lambda: sys.exit("no credit left"),
    "sys.exit(0)": lambda: sys.exit(0),
    "memory": _raise(MemoryError()),
    "recursion": _recurse,
    "end of iteration": _raise(StopIteration()),
    "end of a generator": _raise(GeneratorExit()),
    "os._exit": lambda: os._exit(3),
}
#: What is returned in place of the images of "a hill".
ANSWERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda pixels: None,
    "bare array": lambda pixels: pixels,
    "generator": lambda pixels: (image for image in pixels),
    "wrong shape": lambda pixels: Images(pixels[:, :8], np.zeros(len(pixels), np.bool_)),
    "too few": lambda pixels: Images(pixels[:-1], np.zeros(len(pixels) - 1, np.bool_)),
    "too many": lambda pixels: Images(np.repeat(pixels, 2, 0), np.zeros(2 * len(pixels), np.bool_)),
    "other dtype": lambda pixels: Images(pixels.astype(np.float32), np.zeros(len(pixels), np.bool_)),
    "flags that are none": lambda pixels: Images(pixels, None),  # type: ignore[arg-type]
    "list": lambda pixels: Images(list(pixels), np.zeros(len(pixels), np.bool_)),
}


class Failing:
    """Noise for every prompt but "a hill", for which it does what ``kind`` says."""

    image_shape = SHAPE
    public_options = ("kind",)

    def __init__(self, kind: str) -> None:
        self.fingerprint = kind

    def describe(self) -> dict[str, str]:
        return {"kind": self.fingerprint}

    def sample(self, requests: Sequence[Request]) -> Images:
        pixels = np.stack(
            [np.random.default_rng(r.seed).integers(0, 256, SHAPE, dtype=np.uint8) for r in requests]
        )
        if any(request.prompt == "a hill" for request in requests):
            if self.fingerprint in ENDS:
                ENDS[self.fingerprint]()
            answer: Images = ANSWERS[self.fingerprint](pixels)
            return answer
        return Images(pixels, np.zeros(len(requests), np.bool_))
