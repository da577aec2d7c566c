"""Show progress: a bar on a terminal, plain lines in a log, nothing with ``--quiet``."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from memcore.system.console import printable, write, write_error

LINE_SECONDS = 10.0


def say(line: str, *, quiet: bool) -> None:
    """Write a line about what begins now, at once, for it may take a while."""
    if not quiet:
        write_error(f"memcore: {line}")


class Progress:
    """Count images, or what ``noun`` says: on a terminal by a bar (tqdm), elsewhere by a line every ten seconds.

    ``count`` are images that exist, of ``total`` that will. The rate counts those alone that were made since this was
    begun: neither images that an earlier command had made nor those that are spared.
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        quiet: bool = False,
        noun: str = "images",
    ) -> None:
        self.total = total
        self.count = done
        #: Images that were made since the start.
        self.made = 0
        self._label = printable(label)
        self._noun = noun
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._start = self._last = time.monotonic()
        self._shown = (done, total)
        self._bar: Any = None
        if not quiet and self._stream.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=self._label,
                unit="img" if noun == "images" else noun,
                file=self._stream,
                dynamic_ncols=True,
            )

    def advance(self, made: int, *, kept: int = 0, spared: int = 0) -> None:
        """Count images that were made, images of earlier that are kept, and images that need not be made.

        ``kept`` and ``spared`` are negative where a failed try is taken back: its images are to be made again.
        """
        self.made += made
        self.count += made + kept
        self.total -= spared
        if self._bar is not None:
            self._show_on_bar(made, kept)
        elif not self._quiet and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self._line()

    def close(self) -> None:
        """Show the last count."""
        if self._bar is not None:
            self._bar.close()
        elif not self._quiet and (self.count, self.total) != self._shown:
            self._line()

    def rate(self) -> float:
        """Return the images that were made a second."""
        seconds = time.monotonic() - self._start
        return self.made / seconds if seconds > 0 else 0.0

    def _show_on_bar(self, made: int, kept: int) -> None:
        bar = self._bar
        bar.total = self.total
        # what was not made now must not count for the bar's rate, which is (n - initial) / seconds
        bar.n += kept
        bar.initial += kept
        bar.last_print_n += kept
        if made:
            bar.update(made)
        else:
            bar.refresh()

    def _line(self) -> None:
        rate = self.rate()
        left = f", {(self.total - self.count) / rate:.0f} s left" if rate > 0 else ""
        text = f"{self._label}: {self.count} of {self.total} {self._noun}, {rate:.1f} a second{left}"
        write(text, stream=self._stream)
        self._shown = (self.count, self.total)
