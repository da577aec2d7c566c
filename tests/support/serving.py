"""``memcore serve-model`` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from memcore.errors import SamplerError
from memcore.types import Images, Request
from tests.support.synthetic import SyntheticSampler

TOKEN = "t0ken-Of-The-Server"


class Serving(NamedTuple):
    """The server's process, its address and what it printed first."""

    process: subprocess.Popen[str]
    address: str
    told: dict[str, str | None]


class ServedSampler(SyntheticSampler):
    """Fails for one prompt, and dies of another."""

    def __init__(self) -> None:
        super().__init__(fail="rain")

    def sample(self, requests: Sequence[Request]) -> Images:
        if any(r.prompt == "die" for r in requests):
            os._exit(9)
        if any(r.prompt == "a bug" for r in requests):
            raise SamplerError(f"it has {os.environ['MODEL_TOKEN']}")
        return super().sample(requests)


@contextlib.contextmanager
def serving(*words: str) -> Iterator[Serving]:
    """Serve until the block ends, and end as Ctrl-C does."""
    command = [sys.executable, "-m", "memcore.cli", "serve-model", "--port", "0", "--json", *words]
    process = subprocess.Popen(
        command,
        env={**os.environ, "MODEL_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        told = json.loads(line)
        yield Serving(process, told["address"], told)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
