"""Threads that share work, and do not begin what is no longer wanted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType


class Threads(ThreadPoolExecutor):
    """A pool whose ``with`` block waits for all work when it ends, and only for what has begun when it is left early.

    An error or Ctrl-C would otherwise wait until everything that was submitted is done.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Wait for the work that is still to be done."""
        self.shutdown(wait=True, cancel_futures=kind is not None)
