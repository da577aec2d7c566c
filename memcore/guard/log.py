"""The log of a filter's decisions: one JSON object a line, one line a call. It holds no image."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from memcore.errors import StoreError
from memcore.guard.decision import Decision


class DecisionLog:
    """A file to whose end a line is written for each call. Threads and processes may share it.

    Raises StoreError where it cannot be written; a filter whose decisions cannot be logged gives out no image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._write(b"")  # a wrong place is told at once

    def add(self, decisions: Sequence[Decision], seconds: float) -> None:
        """Write the line of one call: its time, its images by verdict, and each one that did not pass."""
        line = {
            "time": round(time.time(), 3),
            "images": len(decisions),
            "seconds": round(seconds, 6),
            "verdicts": dict(sorted(Counter(d.verdict.value for d in decisions).items())),
            "withheld": [{"image": i, **d.as_dict()} for i, d in enumerate(decisions) if d.withheld],
        }
        self._write(json.dumps(line).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            with self._lock:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    while line:  # one write, unless the disk is nearly full
                        line = line[os.write(descriptor, line) :]
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise StoreError(f"log={self.path} cannot be written: {error.strerror or error}") from error
