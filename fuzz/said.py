"""Commands as a person gives them, and what no command may answer to bad input."""

from __future__ import annotations

import contextlib
import io
import re
from typing import NamedTuple

from fuzz.target import Wrong
from memcore.cli import main

#: Exit codes that docs/running.md describes.
CODES = (0, 1, 2, 3, 5)
#: What a terminal would obey: control characters but tab and newline, and those that turn the direction of writing.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Said(NamedTuple):
    """What a command answered: its exit code, and what it wrote to each stream."""

    code: int
    out: str
    err: str


class _Terminal(io.StringIO):
    """Standard output as a person has it: elsewhere, data such as CSV is written as it is."""

    def isatty(self) -> bool:
        return True


def run_command(*words: str) -> Said:
    """Run a command in this process. Raise Wrong for an unknown exit code, a traceback, or text that a terminal obeys."""
    out, err = _Terminal(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    said = Said(code, out.getvalue(), err.getvalue())
    if code not in CODES:
        raise Wrong(f"exit code {code}: {said.err}")
    if code in (1, 2) and not re.search("^(memcore|usage): ", said.err, re.MULTILINE):
        raise Wrong(f"exit code {code} without a message: {said.err!r}")
    if "Traceback" in said.err or "Traceback" in said.out:
        raise Wrong(f"a traceback is shown: {said.err}")
    if obeyed := _OBEYED.search(said.out + said.err):
        raise Wrong(f"{obeyed[0]!r} reaches the terminal: {said.out[-2000:]}\n{said.err[-2000:]}")
    return said
