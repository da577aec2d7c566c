"""Requests that are under way side by side, in threads of a call: a call that is interrupted does not wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def run_side_by_side(work: Sequence[T], do: Callable[[T, threading.Event], None], concurrency: int) -> None:
    """Do all of the work, at most ``concurrency`` at a time, and raise the first error once no thread is at work.

    After an error nothing new is begun; what is under way is waited for, since its answer may have a price. The event that
    ``do`` gets says that there is nothing to wait for. Threads are daemons: an interrupt leaves them behind.
    """
    if not work:
        return
    waiting, errors = deque(work), []
    stop, lock = threading.Event(), threading.Lock()

    def run() -> None:
        while not stop.is_set():
            with lock:
                if not waiting:
                    return
                item = waiting.popleft()
            try:
                do(item, stop)
            except BaseException as error:
                with lock:
                    errors.append(error)
                stop.set()

    threads = [
        threading.Thread(target=run, daemon=True, name=f"memcore-http-{number}")
        for number in range(min(concurrency, len(work)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        raise
    if errors:
        raise errors[0]
