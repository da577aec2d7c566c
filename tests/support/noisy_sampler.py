"""A sampler that prints wherever its code runs, as those of people do: while it is imported, made and asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from memcore.types import Images, Request
from tests.support.synthetic import SyntheticSampler

print("imported")


class NoisySampler(SyntheticSampler):
    """A sampler that prints through Python, through the system and in a process of its own."""

    def __init__(self) -> None:
        super().__init__()
        print("made")

    def sample(self, requests: Sequence[Request]) -> Images:
        """Print, and return images."""
        print("sampling")
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-S", "-c", "print('from a child')"], check=True)
        return super().sample(requests)
