"""A fuzzer of ours as a target of libFuzzer, through atheris: coverage of memcore's Python guides its inputs.

Without atheris, which needs a compiler with libFuzzer to be installed, the same program checks the files that it is given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from fuzz.target import CORPUS, load


def main(name: str) -> None:
    """Run libFuzzer with the arguments of this process: folders of inputs, files, and options that begin with "-"."""
    folder = tempfile.mkdtemp(prefix=f"memcore-{name}-")
    arguments = [word if word.startswith("-") else os.path.abspath(word) for word in sys.argv[1:]]
    if importlib.util.find_spec("atheris") is None:
        check_files(name, Path(folder), arguments)
        return
    import atheris

    with atheris.instrument_imports(include=["memcore"]):
        target = load(name, Path(folder))
    os.chdir(folder)

    def check(data: bytes) -> None:
        target.check(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """Return a case of the fuzzer's own now and then; else what libFuzzer makes of the input."""
        if seed % 4 == 0:
            return target.make(np.random.default_rng(seed))[:most]
        changed: bytes = atheris.Mutate(data, most)
        return changed

    atheris.Setup([sys.argv[0], *arguments], check, custom_mutator=mutate)
    atheris.Fuzz()


def check_files(name: str, folder: Path, arguments: list[str]) -> None:
    """Check the inputs in files and folders, by default those of the corpus."""
    target = load(name, folder)
    given = [Path(word) for word in arguments if not word.startswith("-")] or [CORPUS / name]
    paths = [path for place in given for path in (sorted(place.iterdir()) if place.is_dir() else [place])]
    with contextlib.chdir(folder):
        for path in paths:
            target.check(path.read_bytes())
    print(f"{name}: atheris is not installed; {len(paths)} inputs were checked")
