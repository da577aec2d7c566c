"""One side of ``pairs.py``: the process of one checkout, which runs a command of memcore for each line that it reads.

A line is the command's arguments as JSON. The answer is a line too: exit code, seconds by the wall clock and of the
processor, and what the command printed. The processes that a command starts are forked from this one, which has
everything imported: they cost no start-up either.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import multiprocessing
import os
import resource
import sys
import time
from typing import Any


def busy_s() -> float:
    """Return the seconds of the processor so far, with those of children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run(arguments: list[str]) -> dict[str, Any]:
    """Run one command and time it."""
    from memcore.cli import main

    printed, complaints = io.StringIO(), io.StringIO()
    gc.collect()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaints):
        busy, wall = busy_s(), time.perf_counter()
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        wall, busy = time.perf_counter() - wall, busy_s() - busy
    text = printed if code in (0, 5) else complaints
    return {"code": code, "wall_s": wall, "busy_s": busy, "text": text.getvalue()}


def serve() -> None:
    """Answer line by line; nothing but answers reaches the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    forked = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: forked  # type: ignore[assignment,return-value]
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
