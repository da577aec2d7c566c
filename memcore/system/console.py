"""The one way to a console: what came from files and other programs is shown, and never obeyed.

Names of files, prompts and errors of samplers may hold sequences that move a terminal's cursor, change its title or hide
what follows. A linter's rule (T201) keeps every other ``print`` out of the package.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

#: Control characters but tab and line feed, line and paragraph separators, marks that reorder text, and halves of pairs.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

#: Where lines for standard output go while that is kept for them alone.
_kept: TextIO | None = None


def printable(text: str) -> str:
    r"""Return the text with an escape in place of each character that a terminal would obey or hide.

    >>> printable("a fox \x1b[2J")
    'a fox \\x1b[2J'
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def write(
    text: str, *, stream: TextIO | None = None, start: str = "", end: str = "\n", exact: bool = False
) -> None:
    """Write a line to ``stream`` (standard output by default), at once, between ``start`` and ``end``.

    ``exact`` is for data: where no terminal shows it, it is written as it is.
    """
    stream = output() if stream is None else stream
    if not exact or stream.isatty():
        text = printable(text)
    print(start + text, file=stream, end=end, flush=True)


def write_error(text: str, *, start: str = "", end: str = "\n") -> None:
    """Write a line to standard error, at once."""
    write(text, stream=sys.stderr, start=start, end=end)


def output() -> TextIO:
    """Return the stream of a command's answer: standard output, whatever else is printed meanwhile."""
    return sys.stdout if _kept is None else _kept


@contextlib.contextmanager
def output_kept() -> Iterator[None]:
    """Keep standard output for ``write``: what a sampler, a library or a worker prints goes to standard error.

    An answer in JSON is read by a program, and one more line would spoil it. Processes that are started inherit this.
    """
    global _kept
    printed = sys.stdout
    printed.flush()
    with contextlib.ExitStack() as stack:
        _kept = printed
        with contextlib.suppress(OSError, ValueError):  # no file: a notebook or a test reads it
            if printed.fileno() == 1:
                _kept = stack.enter_context(
                    open(os.dup(1), "w", encoding=printed.encoding, errors=printed.errors)
                )
                stack.callback(os.dup2, _kept.fileno(), 1)
                os.dup2(2, 1)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            yield
        finally:
            _kept = None
