"""Commands in children of one process that has imported all that they need: ``python -m tests.support.forked_commands``.

A kill at a random moment then falls into a command's work and not into its imports, and costs no second of them. The
process reads a line of JSON for each command, its words, and answers with two lines: the number of the child, which has
then begun, and its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
#: What the commands would import.
IMPORTS = (
    "memcore.audit memcore.cli memcore.evaluation.evaluate_run memcore.index memcore.matching.match_run memcore.report "
    "memcore.duplicates memcore.study.synthetic"
)


class ForkedCommands:
    """The process, and the command that it runs now."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.forked_commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._begun = 0.0
        self._child = 0

    def __enter__(self) -> ForkedCommands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def start(self, words: list[str]) -> None:
        """Begin a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        self._child = int(self._line())
        self._begun = time.monotonic()

    def kill(self) -> None:
        """Kill the command by SIGKILL, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)

    def wait(self) -> tuple[int, float]:
        """Wait for the command, and return its exit code and its seconds."""
        return int(self._line()), time.monotonic() - self._begun

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks is gone"
        return line


def main() -> None:
    import importlib

    for name in IMPORTS.split():
        importlib.import_module(name)
    from memcore.cli import main as run

    out = os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)  # what commands print
    lines = os.fdopen(os.dup(0), "r", buffering=1)
    os.dup2(nothing, 0)
    for line in lines:
        child = os.fork()
        if child == 0:
            os._exit(run(json.loads(line)))
        print(child, file=out)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=out)


if __name__ == "__main__":
    main()
