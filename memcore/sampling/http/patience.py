"""When to ask a server again that does not answer for the moment: all requests of a process wait together."""

from __future__ import annotations

import logging
import random
import threading
import time

from memcore.errors import TransientError
from memcore.sampling import transient
from memcore.sampling.http.failure import Failure

_log = logging.getLogger("memcore")


class Gate:
    """Lets requests through, unless the server asked all of them to wait.

    Waits are those of ``memcore.sampling.transient``. Its patience is measured from the last answer: a server that answers
    five images a minute and refuses all others is waited for, one that answers none for five minutes ends the run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._failing_since: float | None = None

    def enter(self, stop: threading.Event) -> None:
        """Wait until requests may be sent, or until ``stop``."""
        while (left := self._not_before - time.monotonic()) > 0:
            if stop.wait(left):
                return

    @property
    def is_open(self) -> bool:
        """Tell whether the last request that ended was answered."""
        return self._failing_since is None

    def succeeded(self) -> None:
        """Note an answer."""
        with self._lock:
            self._failing_since = None

    def failed(self, failure: Failure, tries: int, stop: threading.Event) -> None:
        """Wait before a request is sent again that failed ``tries`` times. Raises TransientError at the end of patience."""
        now = time.monotonic()
        longest = min(transient.FIRST_WAIT * 2.0 ** min(tries - 1, 20), transient.LONGEST_WAIT)
        pause = max(longest * random.uniform(0.5, 1.0), failure.retry_after or 0.0)
        with self._lock:
            if self._failing_since is None:
                self._failing_since = now
            waited = now - self._failing_since
            if waited + pause > transient.PATIENCE:
                text = f"{failure} (asked again for {waited:.0f} s)"
                raise TransientError(text, retry_after=transient.PATIENCE + 1)  # nobody waits once more
            if failure.busy or failure.retry_after:
                self._not_before = max(self._not_before, now + pause)
        level = logging.WARNING if failure.busy or tries > 2 else logging.INFO
        _log.log(
            level, "memcore: the server does not answer: %s. It is asked again in %.1f s", failure, pause
        )
        stop.wait(pause)
