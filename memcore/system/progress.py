"""Show progress: a bar on a terminal, plain lines in a log, nothing with ``--quiet``."""

from __future__ import annotations

import sys
import time
from typing import TextIO

LINE_SECONDS = 10.0


def say(line: str, *, quiet: bool) -> None:
    """Write a line about what begins now, at once, for it may take a while."""
    if not quiet:
        print(f"memcore: {line}", file=sys.stderr, flush=True)


class Progress:
    """Count generations: on a terminal by a bar (tqdm), elsewhere by a line every ten seconds."""

    def __init__(
        self, total: int, label: str, *, done: int = 0, stream: TextIO | None = None, quiet: bool = False
    ) -> None:
        self.total = total
        self.count = done
        self._label = label
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._start = self._last = time.monotonic()
        self._first = done
        self._bar = None
        if not quiet and self._stream.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(
                total=total, initial=done, desc=label, unit="img", file=self._stream, dynamic_ncols=True
            )

    def advance(self, count: int) -> None:
        """Count more images, fewer if negative, and show it when it is time."""
        self.count += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self._quiet and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self._line()

    def close(self) -> None:
        """Show the last count."""
        if self._bar is not None:
            self._bar.close()
        elif not self._quiet and self.count > self._first:
            self._line()

    def _line(self) -> None:
        seconds = time.monotonic() - self._start
        rate = (self.count - self._first) / seconds if seconds > 0 else 0.0
        left = (self.total - self.count) / rate if rate > 0 else 0.0
        print(
            f"{self._label}: {self.count} of {self.total} images, {rate:.1f} a second, {left:.0f} s left",
            file=self._stream,
            flush=True,
        )
