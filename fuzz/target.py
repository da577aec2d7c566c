"""What a fuzzer is, and how its cases are numbered."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

#: The fuzzers by name, each a class that is made with an empty folder of its own.
TARGETS: Mapping[str, str] = {
    "differential": "fuzz.differential:Differential",
    "layouts": "fuzz.layouts:Layouts",
    "images": "fuzz.images:Images",
    "runs": "fuzz.runs:Runs",
    "capi": "fuzz.capi:CApi",
}
#: Inputs that found a fault once, or that show what an input may be. Tests check them, and some cases are made from them.
CORPUS = Path(__file__).parent / "corpus"


class Wrong(AssertionError):
    """memcore did with an input what it must not do."""


class Target(Protocol):
    """A fuzzer. All that happens in a case follows from its input."""

    def make(self, rng: np.random.Generator) -> bytes:
        """Return the input of a case."""
        ...

    def check(self, data: bytes) -> str:
        """Give an input to memcore; return in a word what became of it. Whatever it raises is a failure."""
        ...


def load(name: str, folder: Path) -> Target:
    """Return the fuzzer of this name, or the one that "module:class" names."""
    module, _, attribute = TARGETS.get(name, name).partition(":")
    made: Target = getattr(importlib.import_module(module), attribute)(folder)
    return made


class Case(NamedTuple):
    """A case by its name, "images:7:1234": the fuzzer, the seed of the whole run, and the number of the case in it."""

    fuzzer: str
    seed: int
    number: int

    def __str__(self) -> str:
        return f"{self.fuzzer}:{self.seed}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Case:
        fuzzer, seed, number = text.rsplit(":", 2)
        return cls(fuzzer, int(seed), int(number))

    def make(self, target: Target) -> bytes:
        """Return the case's input. It depends on nothing but the name and the fuzzer's code and corpus."""
        return target.make(np.random.default_rng([self.seed, self.number]))


def corpus(name: str) -> list[bytes]:
    """Return the stored inputs of a fuzzer, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*")) if path.is_file()]
