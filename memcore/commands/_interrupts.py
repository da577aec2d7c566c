"""What Ctrl-C and SIGTERM do to a command: it stops once, says so at once, and is not torn while it stops."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

#: Seconds in which a further signal is only answered: workers have ten to save what they have.
PATIENCE = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Raise KeyboardInterrupt at the first signal; answer the next ones, which would leave workers and files behind.

    With ``final`` the process ends after the command: once it was interrupted, later signals change its exit code no more.
    If it was not, they end it at once: Python itself would show a traceback of its own end.
    """

    def __init__(self, *, final: bool = False) -> None:
        self._final = final
        self._since: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take the signals over, except those that are ignored, as nohup does with some."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Give them back, or say what they do until the process has ended."""
        after = None
        if self._final:
            after = signal.SIG_DFL if self._since is None else signal.SIG_IGN
        for number, handler in self._before.items():
            signal.signal(number, handler if after is None else after)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._since is not None and time.monotonic() - self._since < PATIENCE:
            _say("memcore: still stopping")
            return
        self._since = time.monotonic()
        _say("\nmemcore: stopping; what is finished is saved, in ten seconds at most")
        raise KeyboardInterrupt


def _say(line: str) -> None:
    """Write a line past the buffers, which the signal may have interrupted."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
